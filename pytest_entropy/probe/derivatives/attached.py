"""Attach the forward hooks of directions u to a policy's modules while any piece of work along them is running."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.merged_adapter import require_unmerged
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.derivatives.tangent import Tangent

Directions = Sequence[Mapping[str, torch.Tensor]]


@dataclass
class _Attachment:
    """The directions attached to one model, their hooks, and the number of blocks that use them."""

    directions: Directions
    slope: bool
    gradients: bool
    tangents: list[Tangent]
    frozen: list[torch.nn.Parameter]
    handles: list[RemovableHandle]
    users: int = 0

    def is_for(self, directions: Directions, *, slope: bool, gradients: bool) -> bool:
        """Whether a block that asks for these may use the attachment."""
        same = len(directions) == len(self.directions) and all(map(operator.is_, directions, self.directions))
        return same and (slope, gradients) == (self.slope, self.gradients)


_ATTACHMENTS: WeakKeyDictionary[torch.nn.Module, _Attachment] = WeakKeyDictionary()
_LOCK = threading.Lock()


@contextmanager
def attached(
    policy: Policy, directions: Directions, *, slope: bool, gradients: bool = False
) -> Iterator[list[Tangent]]:
    """Attach the hooks of ``directions``, one after the other, to the policy's modules within the block.

    Blocks with the same directions may nest or run in several threads: the first attaches the hooks, the last removes
    them.

    Args:
        policy: its modules get the hooks; the values of its parameters do not change.
        directions: K directions u, each by live parameter name.
        slope: True for the true derivative along u, False for what a trainer's backward gives.  The two differ with
            DoRA only (:mod:`pytest_entropy.policy.dora`).
        gradients: False: no parameter requires a gradient within the block; True: those that did still do.

    Yields:
        The K tangents, whose :meth:`~.Tangent.at` makes a forward pass depend on an epsilon.

    Raises:
        KeyError: a direction names a parameter that the model does not have.
        RuntimeError: other directions are attached to this model at the moment, or gradients are asked for and the
            adapter is merged.
    """
    with _LOCK:
        attachment = _ATTACHMENTS.get(policy.model)
        if attachment is None:
            attachment = _ATTACHMENTS[policy.model] = _attach(policy, directions, slope, gradients)
        elif not attachment.is_for(directions, slope=slope, gradients=gradients):
            raise RuntimeError("other directions are attached to this model: work along them first")
        attachment.users += 1
    try:
        yield attachment.tangents
    finally:
        with _LOCK:
            attachment.users -= 1
            if not attachment.users:
                del _ATTACHMENTS[policy.model]
                for handle in attachment.handles:
                    handle.remove()
                for parameter in attachment.frozen:
                    parameter.requires_grad_(True)


def _attach(policy: Policy, directions: Directions, slope: bool, gradients: bool) -> _Attachment:
    if gradients:
        require_unmerged(policy)
    # Found out before there are hooks, which would see a pass of one row.
    _ = policy.plain_head
    along = (along_slope(policy.model, direction) if slope else direction for direction in directions)
    tangents = Tangent.together(policy.model, along)
    frozen = [] if gradients else [p for p in policy.model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    handles = [handle for tangent in tangents for handle in tangent.attach()]
    return _Attachment(directions, slope, gradients, tangents, frozen, handles)
