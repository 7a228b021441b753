"""The protocol of a checkpoint layout: how a trainer arranges a directory and numbers its optimizer's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pytest_entropy.checkpoints.files import CheckpointFiles


@runtime_checkable
class Layout(Protocol):
    """A trainer's way of writing a checkpoint; layouts do not import torch, as ``find`` runs before anything is loaded.

    Attributes:
        order: layouts are tried by this number, lowest first; one that is more specific than another has a lower number
            (the built-in ones have 10 to 60).
        name: what messages and results call it.
        expects: which files make a directory one of this layout, for the message where none is recognised.
    """

    order: int
    name: str
    expects: str

    def find(self, path: Path) -> CheckpointFiles | None:
        """The files of a checkpoint of this layout at ``path``, or None if it is not one.

        Raises:
            UsageError: it is one that cannot be read as it is; the message has the command that converts it.
        """

    def parameter_order(self, model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
        """Live parameter names in the order of the optimizer's integers; may be longer than the state.

        Args:
            model: the live model that the optimizer sees.
            trainable: live names of its trainable parameters, in ``named_parameters()`` order.
            groups: the optimizer's parameter groups, whose ``params`` are integers and whose ``shapes`` are those of
                the moments, None where they are not known.
        """
