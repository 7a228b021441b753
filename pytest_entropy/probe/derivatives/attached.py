"""A direction attached to a policy's modules for as long as any piece of work along it is under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.derivatives.tangent import Tangent


@dataclass
class _Held:
    """What is attached to a model, and by how many it is in use."""

    direction: Mapping[str, torch.Tensor]
    slope: bool
    tangent: Tangent
    frozen: list[torch.nn.Parameter]
    handles: list[RemovableHandle]
    users: int = 0


_HELD: WeakKeyDictionary[torch.nn.Module, _Held] = WeakKeyDictionary()
_TURN = threading.Lock()


@contextmanager
def attached(policy: Policy, direction: Mapping[str, torch.Tensor], *, slope: bool) -> Iterator[Tangent]:
    """Within the block the policy's modules carry hooks along ``direction``, and no parameter asks for a gradient.

    Blocks of one direction nest, in one thread or in several: the first one attaches, the last one detaches.

    Args:
        policy: its parameters are left untouched.
        direction: u by live parameter name.
        slope: whether the slope along u is meant, which differs with DoRA (:mod:`pytest_entropy.policy.dora`), or
            what a trainer's backward gives.

    Raises:
        KeyError: a direction for a parameter the model does not have.
        RuntimeError: another direction is attached to this model just now.
    """
    with _TURN:
        held = _HELD.get(policy.model)
        if held is None:
            held = _HELD[policy.model] = _attach(policy, direction, slope)
        elif held.direction is not direction or held.slope != slope:
            raise RuntimeError("another direction is attached to this model: work along one direction at a time")
        held.users += 1
    try:
        yield held.tangent
    finally:
        with _TURN:
            held.users -= 1
            if not held.users:
                del _HELD[policy.model]
                for handle in held.handles:
                    handle.remove()
                for parameter in held.frozen:
                    parameter.requires_grad_(True)


def _attach(policy: Policy, direction: Mapping[str, torch.Tensor], slope: bool) -> _Held:
    tangent = Tangent(policy.model, along_slope(policy.model, direction) if slope else direction)
    frozen = [p for p in policy.model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return _Held(direction, slope, tangent, frozen, tangent.attach())
