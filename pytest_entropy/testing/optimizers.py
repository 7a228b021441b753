"""Conformance of a kind of optimizer state: recognised by its keys, and read as the moments that it stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.checkpoints.states.optimizer_kind import require_adamw
from pytest_entropy.optimizers.optimizer_states import flat, known_kinds, moments_of


def check_optimizer(
    name: str, state_dict: Mapping[str, Any], expected: Mapping[Any, tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Check the kind of optimizer state of that name in the registry.

    Args:
        name: in the registry.
        state_dict: of a real optimizer of this kind, after at least one step.
        expected: AdamW's first and second moment of each parameter, by its key in ``state``.

    Raises:
        AssertionError: an entry that is not recognised, that another kind takes as well, or whose moments are not the
            expected ones to a millionth.
        UsageError: a key that the kind does not declare.
    """
    require_adamw(Path("optimizer.pt"), state_dict)
    group_of = {index: group for group in state_dict["param_groups"] for index in group["params"]}
    for index, wanted in expected.items():
        entry, group = state_dict["state"][index], group_of[index]
        taken = [other for other, kind in known_kinds().items() if kind.recognise(flat(entry), group)]
        assert taken == [name], f"optimizer {name}: the state of {index} is recognised by {taken or 'none'}"
        moments = moments_of(entry, tuple(wanted[0].shape), group)
        assert moments.step >= 1
        for what, found, right in (
            ("first", moments.exp_avg, wanted[0]),
            ("second", moments.exp_avg_sq, wanted[1]),
        ):
            gap = float((found.double() - right.double()).norm() / right.double().norm().clamp(min=1e-30))
            assert gap <= 1e-6, f"optimizer {name}: the {what} moment of {index} differs by {gap:.2g} of it"
