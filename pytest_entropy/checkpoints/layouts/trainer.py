"""The layout of transformers' Trainer and of TRL: ``checkpoint-N/`` with all files in one directory.

Integers number the trainable parameters group by group: first those with weight decay in
``named_parameters()`` order, then norms and biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import NAME_FILES, CheckpointFiles, has_adapter, has_weights, require_optimizer
from pytest_entropy.checkpoints.states.parameter_order import all_or_trainable


class TrainerLayout:
    """LoRA (``adapter_config.json``) or full fine-tune (``model*.safetensors``), beside ``optimizer.pt``."""

    order = 60
    name = "HF Trainer / TRL"
    expects = "adapter_model.safetensors + adapter_config.json, or model.safetensors + config.json, and optimizer.pt"

    def find(self, path: Path) -> CheckpointFiles | None:
        if not (has_adapter(path) or has_weights(path)):
            return None
        optimizer = require_optimizer(path, path, [path / "optimizer.pt"])
        names = next((path / n for n in NAME_FILES if (path / n).is_file()), None)
        return CheckpointFiles(self.name, path, path, has_adapter(path), optimizer, None, names)

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        return all_or_trainable(model, trainable, groups)


LAYOUT = TrainerLayout()
