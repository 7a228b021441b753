"""The value of a prefix: what its hidden states add to the expected entropy-to-go, fitted to the update batch U.

A ridge regression of what position and tokens leave of the entropy-to-go (:func:`.action_value.centred`), with the
tokens' weights 1 - pi(t_k), on the last hidden state that t_k is drawn from, on the prompt's, and on the mean and the
sum of these states so far.  It depends on the prefix and on U alone, so that it is a baseline: it changes no mean.  Its
shrinkage is chosen by cross-validation over U's prompts, and may be complete (docs/variance-reduction.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch

# Shrinkage in units of weight, the features having variance 1.
RIDGES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
# Of shrinkages with nearly the same error the largest is taken: a few tokens with large scores decide on that error.
NEAR = 1.05
# Wider hidden states are projected on so many random directions.
FEATURES = 128


@dataclass(frozen=True)
class RegressionSums:
    """Weighted sums over tokens: of 1, features x, x x^T, and of K targets y, x y and y^2; float64.

    Attributes:
        weight: scalar.
        x: ``[F]``.
        xx: ``[F, F]``.
        y, yy: ``[K]``.
        xy: ``[F, K]``.
    """

    weight: float
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(cls, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> RegressionSums:
        """The sums over n tokens.

        Args:
            x: ``[n, F]`` float64.
            y: ``[n, K]`` float64.
            weights: ``[n]`` float64.
        """
        weighted, targets = x * weights.unsqueeze(-1), y * weights.unsqueeze(-1)
        columns = (weighted.sum(0), weighted.T @ x, targets.sum(0), (targets * y).sum(0), weighted.T @ y)
        return cls(float(weights.sum()), *(column.cpu().numpy() for column in columns))

    def plus(self, other: RegressionSums, sign: int = 1) -> RegressionSums:
        """The sums over the tokens of both.

        Args:
            other: the sums over other tokens.
            sign: -1 for those that are in ``other`` taken away.
        """
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return RegressionSums(*(one + sign * another for one, another in pairs))

    def ridge(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """(slopes ``[F, K]``, intercepts ``[K]``) of each y on x, slopes shrunk in units of the features' spread."""
        mean, level = self.x / self.weight, self.y / self.weight
        covariance = self.xx / self.weight - np.outer(mean, mean)
        spread = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        with_y = (self.xy / self.weight - np.outer(mean, level)) / spread[:, None]
        gram = covariance / np.outer(spread, spread) + penalty / self.weight * np.eye(len(mean))
        slopes = np.linalg.solve(gram, with_y) / spread[:, None]
        return slopes, level - mean @ slopes

    def constant(self) -> tuple[np.ndarray, np.ndarray]:
        """The same without slopes."""
        return np.zeros_like(self.xy), self.y / self.weight

    def errors(self, slopes: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        """Weighted squared errors of a line for each y, ``[K]``.

        Args:
            slopes: ``[F, K]``.
            intercepts: ``[K]``, its values where all features are 0.
        """
        left = self.yy - 2 * ((slopes * self.xy).sum(0) + intercepts * self.y)
        squares = (slopes * (self.xx @ slopes)).sum(0) + intercepts**2 * self.weight
        found: np.ndarray = left + squares + 2 * intercepts * (self.x @ slopes)
        return found


def features(states: torch.Tensor) -> torch.Tensor:
    """The features of each token's prefix, ``[G, L, 4 F]``, in the order of :attr:`.ControlVariateTables.value`.

    Args:
        states: last hidden states ``[G, L, F]`` that the tokens are drawn from, the first of them the prompt's.
    """
    sums = states.cumsum(1)
    so_far = torch.arange(1, states.shape[1] + 1, device=states.device).unsqueeze(-1)
    return torch.cat([states, states[:, :1].expand_as(states), sums / so_far, sums], -1)


def projection_of(width: int) -> torch.Tensor | None:
    """Random directions ``[H, FEATURES]`` float64 for hidden states of this width; None where they are narrow enough.

    Args:
        width: H.
    """
    if width <= FEATURES:
        return None
    return torch.randn(width, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@dataclass(frozen=True)
class FittedValue:
    """A ridge regression of one target.

    Attributes:
        slopes: ``[F]``; zeros where nothing predicts the target on prompts left out.
        intercept: scalar.
        error: weighted squared error on prompts left out.
    """

    slopes: np.ndarray
    intercept: float
    error: float


def fitted(fits: Sequence[RegressionSums], errors: Sequence[RegressionSums]) -> list[FittedValue]:
    """The fits of the K targets, each with the shrinkage that predicts the folds left out.

    Args:
        fits: the sums of each fold's tokens that are fitted, at least two.
        errors: with the weights that errors are judged by.
    """
    whole = reduce(RegressionSums.plus, fits)
    if not all(whole.plus(own, -1).weight > 0 for own in fits):
        # No token was open: a policy that has collapsed.
        return [FittedValue(np.zeros(len(whole.x)), 0.0, 0.0) for _ in whole.y]
    pairs = [(judged, whole.plus(own, -1)) for own, judged in zip(fits, errors, strict=True)]
    plain = np.array(sum(judged.errors(*other.constant()) for judged, other in pairs))
    by_ridge = np.array([sum(judged.errors(*other.ridge(r)) for judged, other in pairs) for r in RIDGES])
    found = []
    for k, of_constant in enumerate(plain):
        own = by_ridge[:, k]
        slopes, intercepts = whole.constant()
        if min(own) < of_constant:
            slopes, intercepts = whole.ridge(max(np.array(RIDGES)[own <= NEAR * min(own)]))
        found.append(FittedValue(slopes[:, k], float(intercepts[k]), float(min(of_constant, *own))))
    return found
