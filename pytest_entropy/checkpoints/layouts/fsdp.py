"""FSDP with a gathered optimizer: weights beside ``optimizer.bin``, whose state is keyed by parameter name.

Written by transformers' Trainer and by accelerate with ``FULL_STATE_DICT``, and by torch's converter from a DCP
directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import NAME_FILES, CheckpointFiles, has_adapter, has_weights
from pytest_entropy.checkpoints.states.parameter_order import all_or_trainable


class FSDPLayout:
    """LoRA or full fine-tune beside ``optimizer.bin``, which holds the parameters' names."""

    order = 50
    name = "FSDP"
    expects = "weights as in an HF Trainer checkpoint, and optimizer.bin with parameter names"

    def find(self, path: Path) -> CheckpointFiles | None:
        optimizer = path / "optimizer.bin"
        if not optimizer.is_file() or not (has_adapter(path) or has_weights(path)):
            return None
        names = next((path / n for n in NAME_FILES if (path / n).is_file()), None)
        return CheckpointFiles(self.name, path, path, has_adapter(path), optimizer, None, names)

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        # accelerate writes optimizer.bin with numbers where nothing is sharded, in the Trainer's order.
        return all_or_trainable(model, trainable, groups)


LAYOUT = FSDPLayout()
