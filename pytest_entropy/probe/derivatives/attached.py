"""Attach the forward hooks of a direction u to a policy's modules while any piece of work along u is running."""

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
class _Attachment:
    """The direction attached to one model, its hooks, and the number of blocks that use it."""

    direction: Mapping[str, torch.Tensor]
    slope: bool
    tangent: Tangent
    frozen: list[torch.nn.Parameter]
    handles: list[RemovableHandle]
    users: int = 0


_ATTACHMENTS: WeakKeyDictionary[torch.nn.Module, _Attachment] = WeakKeyDictionary()
_LOCK = threading.Lock()


@contextmanager
def attached(policy: Policy, direction: Mapping[str, torch.Tensor], *, slope: bool) -> Iterator[Tangent]:
    """Attach the hooks of ``direction`` to the policy's modules within the block.

    Within it no parameter requires a gradient.  Blocks with the same direction may nest or run in several threads: the
    first attaches the hooks, the last removes them.

    Args:
        policy: its modules get the hooks; the values of its parameters do not change.
        direction: u by live parameter name.
        slope: True for the true derivative along u, False for what a trainer's backward gives.  The two differ with
            DoRA only (:mod:`pytest_entropy.policy.dora`).

    Yields:
        The tangent, whose :meth:`~.Tangent.at` makes a forward pass depend on epsilon.

    Raises:
        KeyError: the direction names a parameter that the model does not have.
        RuntimeError: another direction is attached to this model at the moment.
    """
    with _LOCK:
        attachment = _ATTACHMENTS.get(policy.model)
        if attachment is None:
            attachment = _ATTACHMENTS[policy.model] = _attach(policy, direction, slope)
        elif attachment.direction is not direction or attachment.slope != slope:
            raise RuntimeError("another direction is attached to this model: work along one direction at a time")
        attachment.users += 1
    try:
        yield attachment.tangent
    finally:
        with _LOCK:
            attachment.users -= 1
            if not attachment.users:
                del _ATTACHMENTS[policy.model]
                for handle in attachment.handles:
                    handle.remove()
                for parameter in attachment.frozen:
                    parameter.requires_grad_(True)


def _attach(policy: Policy, direction: Mapping[str, torch.Tensor], slope: bool) -> _Attachment:
    tangent = Tangent(policy.model, along_slope(policy.model, direction) if slope else direction)
    frozen = [p for p in policy.model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return _Attachment(direction, slope, tangent, frozen, tangent.attach())
