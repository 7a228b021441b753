"""Vectors over the trainable parameters, as tensors by parameter name: precision, inner product and norm in float64."""

from __future__ import annotations

from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]
# Vectors of more entries in total are held in float32: of a full fine-tune each is as large as the model.
LARGE = 100_000_000


def held_in(tensors: Tensors) -> torch.dtype:
    """The type that a vector over these parameters is held in: float64, but float32 above ``LARGE`` float32 entries.

    Args:
        tensors: the parameters, of whose shapes the vector is.
    """
    if any(t.dtype == torch.float64 for t in tensors.values()) or sum(t.numel() for t in tensors.values()) <= LARGE:
        return torch.float64
    return torch.float32


class PlainSum:
    """A sum of vectors in float64, on the CPU.

    Args:
        shapes: the parameters, of whose names and shapes it is.
    """

    def __init__(self, shapes: Tensors) -> None:
        self._sums = {name: torch.zeros(t.shape, dtype=torch.float64) for name, t in shapes.items()}

    def add(self, vector: Tensors) -> None:
        """Add a vector.

        Args:
            vector: tensors by parameter name, on any device; what it does not name is 0.
        """
        for name, tensor in vector.items():
            self._sums[name] += tensor.double().cpu()

    def total(self) -> dict[str, torch.Tensor]:
        """The sum by parameter name."""
        return self._sums


class CompensatedSum:
    """A sum of vectors in float32, on the CPU, that adds what each addition has rounded off to the next (Kahan 1965).

    Args:
        shapes: the parameters, of whose names and shapes it is.
    """

    def __init__(self, shapes: Tensors) -> None:
        self._shapes = {name: t.shape for name, t in shapes.items()}
        self._sums: dict[str, torch.Tensor] = {}
        # Only from the second vector on: most updates are one piece.
        self._lost: dict[str, torch.Tensor] = {}

    def add(self, vector: Tensors) -> None:
        """Add a vector.

        Args:
            vector: tensors by parameter name, on any device, which are not changed; what it does not name is 0.
        """
        for name, tensor in vector.items():
            term = tensor.detach().to("cpu", torch.float32)
            before = self._sums.get(name)
            if before is None:
                self._sums[name] = term
                continue
            if name in self._lost:
                term = term - self._lost.pop(name)
            self._sums[name] = before + term
            self._lost[name] = (self._sums[name] - before) - term

    def total(self) -> dict[str, torch.Tensor]:
        """The sum by parameter name."""
        self._lost.clear()
        return {name: self._sums[name] if name in self._sums else torch.zeros(s) for name, s in self._shapes.items()}


def vector_sum(shapes: Tensors) -> PlainSum | CompensatedSum:
    """An empty sum in the type that such vectors are held in.

    Args:
        shapes: the parameters, of whose names and shapes it is.
    """
    return PlainSum(shapes) if held_in(shapes) == torch.float64 else CompensatedSum(shapes)


def inner(left: Tensors, right: Tensors) -> float:
    """<left, right> over all parameters, summed in float64.

    Args:
        left, right: tensors by parameter name; ``right`` holds every name of ``left``.
    """
    return sum(float((left[name].double().cpu() * right[name].double().cpu()).sum()) for name in left)


def norm(tensors: Tensors) -> float:
    """Euclidean norm over all entries of all tensors, in float64."""
    return float(sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5)
