"""DeepSpeed ZeRO checkpoints (``global_stepN/*_optim_states.pt``): recognised and refused, with the conversion."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, has_adapter, has_weights
from pytest_entropy.errors import UsageError


class DeepSpeedLayout:
    """A Trainer's directory with DeepSpeed's shards in it, or the shards' own directory."""

    order = 20
    name = "DeepSpeed"
    expects = "global_stepN/*_optim_states.pt (refused; convert it to optimizer.pt)"

    def find(self, path: Path) -> CheckpointFiles | None:
        """None, if DeepSpeed's shards are not the only optimizer state.

        Raises:
            UsageError: they are; has the commands that convert them.
        """
        shards = [path] if any(path.glob("*_optim_states.pt")) else sorted(path.glob("global_step*"))
        shards = [place for place in shards if any(place.glob("*_optim_states.pt"))]
        if not shards or any((path / f"optimizer.{end}").is_file() for end in ("pt", "bin")):
            return None
        root = shards[-1].parent
        quoted_root, universal, out = (shlex.quote(str(root / name)) for name in ("", "universal", "optimizer.pt"))
        step = re.sub(r"\D", "", shards[-1].name) or "N"
        commands = [
            "python -m deepspeed.checkpoint.ds_to_universal --inject_missing_state --input_folder "
            f"{shlex.quote(str(shards[-1]))} --output_folder {universal}",
            f"python -m pytest_entropy.checkpoints.from_universal {universal} {out} --step {step} "
            "--learning-rate LR --beta1 0.9 --beta2 0.999 --eps 1e-8 --weight-decay WD",
        ]
        if not (has_adapter(root) or has_weights(root)):
            commands.append(f"python {quoted_root}/zero_to_fp32.py {quoted_root} {quoted_root} --safe_serialization")
        listing = "\n".join(f"  {command}" for command in commands)
        raise UsageError(
            f"checkpoint {root} keeps its optimizer in DeepSpeed's shards {shards[-1]}, pickles of flattened "
            f"partitions that only DeepSpeed can take apart. If you trust them, convert them once with\n{listing}\n"
            "LR and WD are the run's learning rate and weight decay: DeepSpeed keeps them in a pickle only"
        )

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        """Never called, as ``find`` returns no files.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("DeepSpeed's shards must be converted first")


LAYOUT = DeepSpeedLayout()
