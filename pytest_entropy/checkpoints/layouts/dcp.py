"""torch.distributed.checkpoint directories (``optimizer_0/``): recognised and refused, with the conversion.

Their ``.metadata`` is a pickle, which runs what it likes when opened; it is the only place that says which bytes
belong to which parameter.  torch's own converter writes one file that needs no unpickling.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, has_adapter, has_weights
from pytest_entropy.errors import UsageError


class DCPLayout:
    """FSDP with ``SHARDED_STATE_DICT``."""

    name = "DCP directory"
    expects = "optimizer_0/ (refused; convert it to optimizer.bin)"

    def find(self, path: Path) -> CheckpointFiles | None:
        """None, unless the only optimizer state is a DCP directory.

        Raises:
            UsageError: it is; says how to convert it.
        """
        shards = path / "optimizer_0"
        if not (shards / ".metadata").is_file() or any((path / f"optimizer.{end}").is_file() for end in ("pt", "bin")):
            return None
        commands = [
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch "
            f"{shlex.quote(str(shards))} {shlex.quote(str(path / 'optimizer.bin'))}"
        ]
        weights = path / "pytorch_model_fsdp_0"
        if weights.is_dir() and not (has_adapter(path) or has_weights(path)):
            commands.append(f"accelerate merge-weights {shlex.quote(str(weights))} {shlex.quote(str(path))}")
        listing = "\n".join(f"  {command}" for command in commands)
        raise UsageError(
            f"checkpoint {path} keeps its optimizer in torch.distributed.checkpoint's directory {shards}, whose "
            ".metadata is a pickle and is not opened. If you trust it, convert it once with\n" + listing
        )

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        raise NotImplementedError("a DCP directory is converted first")
