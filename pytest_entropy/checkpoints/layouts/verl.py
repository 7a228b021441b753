"""verl's FSDP checkpoints (``actor/optim_world_size_W_rank_R.pt``): recognised and refused, with the remedy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.errors import UsageError


class VerlLayout:
    """``global_step_N/actor`` or ``global_step_N``."""

    order = 10
    name = "verl"
    expects = "actor/optim_world_size_W_rank_R.pt (refused; gather it to optimizer.bin)"

    def find(self, path: Path) -> CheckpointFiles | None:
        """None, if verl's shards are not the only optimizer state.

        Raises:
            UsageError: they are; says how to make a readable checkpoint of them.
        """
        actor = next((p for p in (path, path / "actor") if any(p.glob("optim_world_size_*_rank_*.pt"))), None)
        if actor is None or any((path / f"optimizer.{end}").is_file() for end in ("pt", "bin")):
            return None
        merged = actor.parent / "merged"
        raise UsageError(
            f"checkpoint {actor} holds verl's shards, pickles of one rank's part each, which only the same number of "
            "ranks can open. The weights are merged with\n"
            f"  python -m verl.model_merger merge --backend fsdp --local_dir {shlex.quote(str(actor))} "
            f"--target_dir {shlex.quote(str(merged))}\n"
            "verl has no command for the optimizer: resume the run from this checkpoint and save it by name, on all "
            "ranks, before the first step (docs/checkpoints.md, verl):\n"
            "  state = torch.distributed.checkpoint.state_dict.get_optimizer_state_dict(actor_module_fsdp, "
            "actor_optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))\n"
            f"  if rank == 0: torch.save(state, {str(merged / 'optimizer.bin')!r})"
        )

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        """Never called, as ``find`` returns no files.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("verl's shards must be gathered first")


LAYOUT = VerlLayout()
