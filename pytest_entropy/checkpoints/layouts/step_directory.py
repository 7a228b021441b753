"""The predecessor's layout: ``step_N/{model/ (adapter or model), optimizer.pt}``, optionally with a name file.

Its trainer gave AdamW *all* parameters of the PEFT model, frozen ones too, so the integers run over all
``named_parameters()`` and the state has gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import NAME_FILES, CheckpointFiles, has_adapter, has_weights, require_optimizer
from pytest_entropy.checkpoints.states.parameter_order import all_or_trainable


class StepDirectoryLayout:
    """A ``step_N`` directory; ``--checkpoint`` may name it or its ``model/``."""

    order = 40
    name = "step directory"
    expects = "model/ (adapter_model.safetensors or model.safetensors) beside optimizer.pt"

    def find(self, path: Path) -> CheckpointFiles | None:
        root = path.parent if path.name == "model" and not (path / "optimizer.pt").is_file() else path
        weights = root / "model"
        if not (has_adapter(weights) or has_weights(weights)):
            return None
        optimizer = require_optimizer(root, weights, [root / "optimizer.pt"])
        names = next((root / n for n in NAME_FILES if (root / n).is_file()), None)
        return CheckpointFiles(self.name, root, weights, has_adapter(weights), optimizer, None, names)

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        return all_or_trainable(model, trainable, groups)


LAYOUT = StepDirectoryLayout()
