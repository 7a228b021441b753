"""The variance of delta_h1 when the update batch is random as well as the entropy batch (docs/mathematics.md §4).

With x_n the prompts' parts of the entropy gradient on E and y_p those of the update direction on U, delta_h1 is
eta <mean x, mean y> and

    V_X = eta^2 var_n <x_n, mean y> / B_E      E[V_X] = A + T
    V_Y = eta^2 var_p <mean x, y_p> / B_U      E[V_Y] = B + T
    T   = eta^2 tr(Sigma_x Sigma_y) / (B_E B_U),         Var(delta_h1) = A + B + T = E[V_X + V_Y - T].

E is halved.  With x1, x2 the means over its halves, which are independent, the covariance over p of <x1, y_p> and
<x2, y_p> has the expectation B B_U / eta^2: T is in V_Y and not in it, and their difference estimates T.  So one pass
over U along two directions gives V_Y and T.

y_p = J g_p, with g_p the prompt's part of the gradient and J = du/dg: exact for the linear rules, the delta
method for ``adamw``.  A normaliser over the whole batch is linearised as well.  Held fixed: the parameters,
the optimizer's state, eta, and the batch sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives, directions_at_once
from pytest_entropy.probe.oracles.variance import Products, half_discrepancy, products_discrepancies
from pytest_entropy.probe.parameter_vectors import Tensors, inner
from pytest_entropy.probe.update.batch import UpdateBatch
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.update.objective import normaliser_shares
from pytest_entropy.probe.variance.spread import Spread
from pytest_entropy.records.diagnostics import VarianceParts
from pytest_entropy.settings.probe import ProbeConfig
from pytest_entropy.stats.largest import largest


def halves(B_E: int) -> tuple[list[int], list[int]]:
    """Positions of the prompts in both halves of an entropy batch: every second one, so that neither is drawn later.

    >>> halves(5)
    ([0, 2, 4], [1, 3])
    """
    return list(range(0, B_E, 2)), list(range(1, B_E, 2))


@dataclass(frozen=True)
class TotalVariance:
    """V_X, V_Y and T, in squared units of delta_h1; their combination is unbiased and may come out negative.

    Attributes:
        entropy_batch, update_batch, interaction: V_X, V_Y and T.
        standard_error: of V_Y - T, from the spread over U's prompts.
        update_skewness: of <mean x, y_p> over them.
        products: <x_h, y_p> ``[B_U, 2]`` for both halves h of E, which V_Y and T were computed from.
        definition: their discrepancy from their definitions, relative; None where it was not computed.
        reads: whether V_X is of scalars with companion reads: V_Y and T are of the vectors X_n all the same, and V_Y
            may exceed the total variance.
    """

    entropy_batch: float
    update_batch: float
    interaction: float
    standard_error: float | None = None
    update_skewness: float | None = None
    products: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    definition: float | None = None
    reads: bool = False

    @property
    def total(self) -> float:
        """V_X + V_Y - T."""
        return self.entropy_batch + self.update_batch - self.interaction

    @property
    def se(self) -> float:
        """Root of ``total``, or of V_X or V_Y where one is larger: E[V_X] and E[V_Y] are at most the total variance.

        With companion reads E[V_Y] is not, and V_X alone may take its place.
        """
        return float(max(self.total, self.largest_part) ** 0.5)

    @property
    def largest_part(self) -> float:
        """The larger of V_X and V_Y; with companion reads V_X."""
        return self.entropy_batch if self.reads else max(self.entropy_batch, self.update_batch)

    def spread(self) -> Spread:
        """The part of the run's record that holds the variance."""
        parts = VarianceParts(
            entropy_batch=self.entropy_batch,
            update_batch=self.update_batch,
            interaction=self.interaction,
            standard_error=self.standard_error,
            update_skewness=self.update_skewness,
            definition=self.definition,
        )
        return Spread(self.total, self.se, parts, tuple(self.notes))

    def arrays(self) -> dict[str, np.ndarray]:
        """The scalars behind V_Y and T, as they are stored beside the run's record."""
        return {"update_products": self.products}

    @property
    def notes(self) -> list[str]:
        """A remark for the reader where the larger of V_X and V_Y stands in for the unbiased estimate; else none."""
        if self.total >= self.largest_part:
            return []
        return [
            f"the unbiased estimate of the total variance ({self.total:.3g} = {self.entropy_batch:.3g} + "
            f"{self.update_batch:.3g} - {self.interaction:.3g}) is below one of its parts: the interaction is as large "
            "as the rest, and se_total is the root of the larger part"
        ]


def combine(s: np.ndarray, products: np.ndarray, *, eta: float) -> TotalVariance:
    """V_X, V_Y and T from scalars (docs/mathematics.md §4), in squared units of delta_h1.

    Args:
        s: <x_n, mean y> ``[B_E]``.
        products: <x_h, y_p> ``[B_U, 2]`` for both halves h of E (:func:`halves`), up to a constant each.
        eta: the learning rate.

    Raises:
        ValueError: fewer than two prompts on either side.
    """
    if min(len(s), len(products)) < 2:
        raise ValueError(f"a variance needs two prompts, got B_E {len(s)}, B_U {len(products)}")
    sizes = np.array([len(half) for half in halves(len(s))])
    centred = products - products.mean(0)
    whole = centred @ sizes / len(s)
    over_u = _mean_variance(whole, whole)
    between_halves = _mean_variance(centred[:, 0], centred[:, 1])
    spread = float(np.square(whole).mean())
    return TotalVariance(
        entropy_batch=float(eta**2 * s.var(ddof=1) / len(s)),
        update_batch=eta**2 * over_u,
        interaction=eta**2 * (over_u - between_halves),
        standard_error=eta**2 * _error(centred[:, 0], centred[:, 1]),
        update_skewness=float(np.power(whole, 3).mean()) / spread**1.5 if spread > 0 else 0.0,
        products=products,
    )


def _mean_variance(a: np.ndarray, b: np.ndarray) -> float:
    """Covariance of two means of n prompts, from the prompts' deviations ``[n]``."""
    return float((a * b).sum() / (len(a) - 1) / len(a))


def _error(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of :func:`_mean_variance`."""
    return float((a * b).std(ddof=1) * len(a) ** 0.5 / (len(a) - 1) / len(a))


@dataclass(frozen=True)
class EntropySide:
    """E's side of the variance.

    Attributes:
        s: s_n ``[B_E]``, in the unit of entropy per unit of eta.
        means: the entropy gradients x_h of both halves, by live parameter name.
        along_u: <x_h, u> of both halves, as scalars give them.
        reads: whether ``s`` holds companion reads.
    """

    s: np.ndarray
    means: tuple[Tensors, Tensors]
    along_u: tuple[float, float]
    reads: bool = False


@dataclass(frozen=True)
class UpdateSide:
    """U's side of the variance: its prompts' parts g_p of the gradient, and y_p = J (g_p - share_p g) of the direction.

    Attributes:
        policy: the gradients are over its trainable parameters.
        batch: U.
        line: J = du/dg at U's gradient g.
        config: names the objective, and gives the token budget of a piece.
    """

    policy: Policy
    batch: UpdateBatch
    line: Linearisation
    config: ProbeConfig

    @cached_property
    def weights(self) -> torch.Tensor:
        """Token weights w ``[B_U, G]`` of the loss."""
        return self.batch.token_weights(self.config)

    @cached_property
    def shares(self) -> np.ndarray:
        """``[B_U]``, a prompt's influence on a normaliser of the whole batch."""
        return _shares(self.batch, self.config)

    def products(self, vectors: Sequence[Tensors]) -> tuple[np.ndarray, list[float]]:
        """<x, y_p> ``[B_U, K]`` of K vectors x, and discrepancies of one prompt's, and of J, from their definitions.

        Args:
            vectors: entropy gradients by live parameter name.
        """
        covectors, gradient, rollouts = (
            [self.line.pullback(x) for x in vectors],
            self.line.gradient,
            self.batch.rollouts,
        )
        chunk = self.config.tokens_at_once
        y = update_parts(self.policy, rollouts, self.weights, covectors, chunk_tokens=chunk)
        y -= np.outer(self.shares, [inner(covector, gradient) for covector in covectors])
        by = [Products(x, v, gradient, self.line.pushforward) for x, v in zip(vectors, covectors, strict=True)]
        return y, products_discrepancies(self.policy, rollouts, self.weights, self.shares, y, by)


def total_variance(side: UpdateSide, entropy: EntropySide, direction: Tensors, *, eta: float) -> TotalVariance:
    """V_X, V_Y and T of one run (docs/mathematics.md §4).

    Args:
        side: U's side.
        entropy: E's side.
        direction: u by live parameter name.
        eta: the learning rate.

    Raises:
        ValueError: B_U = 1, which leaves no variance over U.
    """
    if len(side.batch.rollouts) < 2:
        raise ValueError("B_U is 1: the total variance needs at least 2 prompts in the update batch")
    products, gaps = side.products(entropy.means)
    scale = float(np.abs(entropy.s).mean())
    gaps += [half_discrepancy(x, direction, s, scale) for x, s in zip(entropy.means, entropy.along_u, strict=True)]
    return replace(combine(entropy.s, products, eta=eta), definition=largest(gaps), reads=entropy.reads)


def update_parts(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, covectors: Sequence[Tensors], *, chunk_tokens: int
) -> np.ndarray:
    """<v, g_p> ``[B_U, K]`` with mean <v, g>: g_p = -B_U sum_g w_pg grad S_pg is prompt p's part of the gradient.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: U, B_U prompts x G responses.
        weights: token weights w ``[B_U, G]``.
        covectors: K vectors v by live parameter name, along which one pass goes where memory holds them.
        chunk_tokens: token budget of a piece.
    """
    at_once, parts = directions_at_once(policy), {"parts": -len(weights) * weights}
    columns: list[np.ndarray] = []
    for k in range(0, len(covectors), at_once):
        first, *others = covectors[k : k + at_once]
        passed = directional_derivatives(
            policy, rollouts, first, (), chunk_tokens=chunk_tokens, sequence_weights=parts, also=others
        )
        columns += [passed.per_prompt["parts"], *passed.along["parts"]]
    return np.stack(columns, axis=1)


def _shares(batch: UpdateBatch, config: ProbeConfig) -> np.ndarray:
    rewards = torch.tensor(batch.rewards, dtype=torch.float64)
    lengths = batch.rollouts.lengths.cpu()
    shares = normaliser_shares(
        rewards, lengths, config.loss_type, scaling=config.scale_rewards, epsilon=config.advantage_epsilon
    )
    return shares.numpy()
