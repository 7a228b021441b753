"""FSDP with a sharded optimizer: weights beside ``optimizer_0/``, by torch.distributed.checkpoint (DCP).

The directory holds the parameters' names (:mod:`pytest_entropy.checkpoints.formats.dcp` reads it without
unpickling).  Sharded weights must be merged first.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, has_adapter, has_weights
from pytest_entropy.checkpoints.states.parameter_order import all_or_trainable
from pytest_entropy.errors import UsageError

METADATA = ".metadata"


class DCPLayout:
    """FSDP with ``SHARDED_STATE_DICT``."""

    order = 30
    name = "DCP directory"
    expects = "weights as in an HF Trainer checkpoint, and optimizer_0/ by torch.distributed.checkpoint"

    def find(self, path: Path) -> CheckpointFiles | None:
        """The files, if the only optimizer state is a DCP directory, else None.

        Raises:
            UsageError: the weights are in a DCP directory as well; has the command that merges them.
        """
        shards, sharded_weights = path / "optimizer_0", path / "pytorch_model_fsdp_0"
        if not (shards / METADATA).is_file() or any((path / f"optimizer.{end}").is_file() for end in ("pt", "bin")):
            return None
        if has_adapter(path) or has_weights(path):
            return CheckpointFiles(self.name, path, path, has_adapter(path), shards, None)
        if not sharded_weights.is_dir():
            return None
        raise UsageError(
            f"checkpoint {path} keeps its weights in torch.distributed.checkpoint's directory {sharded_weights}. Merge "
            "them once with (it opens pickles: run it on checkpoints you trust only)\n"
            f"  accelerate merge-weights {shlex.quote(str(sharded_weights))} {shlex.quote(str(path))}\n"
            "and have the model's config.json and tokenizer beside them; optimizer_0/ is read as it is"
        )

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        return all_or_trainable(model, trainable, groups)


LAYOUT = DCPLayout()
