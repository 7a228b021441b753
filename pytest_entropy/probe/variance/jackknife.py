"""Delete-one jackknife: bias correction and standard error of an estimator that is not a plain mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Jackknife:
    """An estimate from n independent units, and the estimates with each unit left out.

    Attributes:
        full: the estimate from all units.
        left_out: ``[n]``, the estimate without unit i.

    Raises:
        ValueError: fewer than two units, or an estimate that is not finite.
    """

    full: float
    left_out: np.ndarray

    def __post_init__(self) -> None:
        if len(self.left_out) < 2:
            raise ValueError(f"a jackknife needs at least 2 units, got {len(self.left_out)}")
        if not (np.isfinite(self.full) and np.isfinite(self.left_out).all()):
            raise ValueError("a jackknife needs finite estimates; leaving out one unit gave one that is not")

    @property
    def pseudo_values(self) -> np.ndarray:
        """n full - (n-1) left_out_i, ``[n]``: their mean is ``corrected``, their spread gives ``variance``."""
        n = len(self.left_out)
        return n * self.full - (n - 1) * self.left_out

    @property
    def corrected(self) -> float:
        """The estimate without its bias of order 1/n (Quenouille 1956)."""
        return float(self.pseudo_values.mean())

    @property
    def bias(self) -> float:
        """The estimated bias of ``full``: full - corrected."""
        return self.full - self.corrected

    @property
    def variance(self) -> float:
        """var(pseudo_values, ddof = 1) / n (Tukey 1958)."""
        return float(self.pseudo_values.var(ddof=1) / len(self.left_out))

    @property
    def se(self) -> float:
        """Root of ``variance``, in the estimate's unit."""
        return float(self.variance**0.5)


def leave_one_out_means(values: np.ndarray) -> np.ndarray:
    """The mean without unit i, ``[n]`` for values ``[n]``."""
    means: np.ndarray = (values.sum() - values) / (len(values) - 1)
    return means
