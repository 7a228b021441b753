"""The variance of delta_h1 when the update batch is random as well as the entropy batch (docs/mathematics.md §4).

With x_n the prompts' parts of the entropy gradient on E and y_p those of the update direction on U, delta_h1 is
eta <mean x, mean y> and

    V_X = eta^2 var_n <x_n, mean y> / B_E      E[V_X] = A + T
    V_Y = eta^2 var_p <mean x, y_p> / B_U      E[V_Y] = B + T
    T   = eta^2 tr(Sigma_x Sigma_y) / (B_E B_U),         Var(delta_h1) = A + B + T = E[V_X + V_Y - T].

y_p = J g_p, with g_p the prompt's part of the gradient and J = du/dg: exact for the linear rules, the delta
method for ``adamw``.  A normaliser over the whole batch is linearised as well.  Held fixed: the parameters,
the optimizer's state, eta, and the batch sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import (
    derivatives_along,
    directional_derivatives,
    directions_at_once,
)
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.oracles.variance import Products, pair_discrepancy, products_discrepancies
from pytest_entropy.probe.parameter_vectors import Tensors, inner
from pytest_entropy.probe.update.batch import UpdateBatch
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.update.objective import normaliser_shares
from pytest_entropy.probe.variance.spread import Spread
from pytest_entropy.records.diagnostics import VarianceParts
from pytest_entropy.settings.probe import ProbeConfig
from pytest_entropy.stats.largest import largest

# T is estimated from pairs of so many prompts n and p: each p costs one backward of its own, and all of them together
# one pass over the n.
ENTROPY_PROMPTS, UPDATE_PROMPTS = 16, 8


@dataclass(frozen=True)
class TotalVariance:
    """V_X, V_Y and T, in squared units of delta_h1; their combination is unbiased and may come out negative.

    Attributes:
        entropy_batch, update_batch, interaction: V_X, V_Y and T.
        products, pairs: <mean x, y_p> ``[B_U]`` and <x_n, y_p> ``[N, K]``, which V_Y and T were computed from.
        definition: their discrepancy from their definitions, relative; None where it was not computed.
    """

    entropy_batch: float
    update_batch: float
    interaction: float
    products: np.ndarray = field(default_factory=lambda: np.empty(0))
    pairs: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    definition: float | None = None

    @property
    def total(self) -> float:
        """V_X + V_Y - T."""
        return self.entropy_batch + self.update_batch - self.interaction

    @property
    def se(self) -> float:
        """Root of ``total``, or of V_X or V_Y where one is larger: E[V_X] and E[V_Y] are at most the total variance."""
        return float(max(self.total, self.entropy_batch, self.update_batch) ** 0.5)

    def spread(self) -> Spread:
        """The part of the run's record that holds the variance."""
        parts = VarianceParts(
            entropy_batch=self.entropy_batch,
            update_batch=self.update_batch,
            interaction=self.interaction,
            definition=self.definition,
        )
        return Spread(self.total, self.se, parts, tuple(self.notes))

    def arrays(self) -> dict[str, np.ndarray]:
        """The scalars behind V_Y and T, as they are stored beside the run's record."""
        return {"update_products": self.products, "pair_products": self.pairs}

    @property
    def notes(self) -> list[str]:
        """A remark for the reader where the larger of V_X and V_Y stands in for the unbiased estimate; else none."""
        larger = max(self.entropy_batch, self.update_batch)
        if self.total >= larger:
            return []
        return [
            f"the unbiased estimate of the total variance ({self.total:.3g} = {self.entropy_batch:.3g} + "
            f"{self.update_batch:.3g} - {self.interaction:.3g}) is below one of its parts: the interaction is as large "
            "as the rest, and se_total is the root of the larger part"
        ]


def combine(s: np.ndarray, y: np.ndarray, cross: np.ndarray, *, eta: float) -> TotalVariance:
    """V_X, V_Y and T from scalars (docs/mathematics.md §4), in squared units of delta_h1.

    Args:
        s: <x_n, mean y> ``[B_E]``.
        y: <mean x, y_p> ``[B_U]``, up to a constant.
        cross: <x_n, y_p> ``[N, K]`` for N prompts n and K prompts p, up to constants of rows and columns.
        eta: the learning rate.

    Raises:
        ValueError: fewer than two prompts on either side.
    """
    if min(len(s), len(y), *cross.shape) < 2:
        raise ValueError(f"a variance needs two prompts, got B_E {len(s)}, B_U {len(y)}, pairs {cross.shape}")
    centred = cross - cross.mean(0) - cross.mean(1, keepdims=True) + cross.mean()
    rows, columns = cross.shape
    trace = float(np.square(centred).sum() / ((rows - 1) * (columns - 1)))
    return TotalVariance(
        entropy_batch=float(eta**2 * s.var(ddof=1) / len(s)),
        update_batch=float(eta**2 * y.var(ddof=1) / len(y)),
        interaction=eta**2 * trace / (len(s) * len(y)),
        products=y,
        pairs=cross,
    )


def total_variance(
    policy: Policy,
    rollouts: Rollouts,
    s: np.ndarray,
    mean_x: Tensors,
    batch: UpdateBatch,
    line: Linearisation,
    unit: EntropyUnit,
    config: ProbeConfig,
    *,
    eta: float,
    rng: np.random.Generator,
) -> TotalVariance:
    """V_X, V_Y and T of one run (docs/mathematics.md §4).

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: E, B_E prompts x G responses.
        s: s_n ``[B_E]``, in ``unit`` per unit of eta.
        mean_x: the entropy gradient of E in ``unit``, by live parameter name.
        batch: U.
        line: J = du/dg at U's gradient.
        unit: the unit of entropy, with the estimator.
        config: names the objective, and gives the token budget of a piece.
        eta: the learning rate.
        rng: picks the pairs that T is estimated from.

    Raises:
        ValueError: B_U = 1, which leaves no variance over U.
    """
    if len(batch.rollouts) < 2:
        raise ValueError("B_U is 1: the total variance needs at least 2 prompts in the update batch")
    weights, shares, chunk = batch.token_weights(config), _shares(batch, config), config.tokens_at_once
    parts = _Parts(policy, batch, line, line.pullback(mean_x), weights, shares, chunk)
    chosen = rng.permutation(len(batch.rollouts))[:UPDATE_PROMPTS].tolist()
    some = rollouts.select(rng.permutation(len(rollouts))[:ENTROPY_PROMPTS].tolist())
    known, cross, vector = parts.of(chosen, some, unit)
    y = update_parts(policy, batch.rollouts, weights, parts.covector, chunk_tokens=chunk, known=known)
    y -= shares * inner(parts.covector, line.gradient)
    found = combine(s, y, cross, eta=eta)
    products = Products(mean_x, parts.covector, line.gradient, line.pushforward)
    gaps = products_discrepancies(policy, batch.rollouts, weights, shares, y, products)
    if unit.name == "sequence":
        gaps.append(pair_discrepancy(policy, some, vector, float(cross[0, -1]), unit.estimator))
    return replace(found, definition=largest(gaps))


@dataclass(frozen=True)
class _Parts:
    """What the parts g_p and y_p = J (g_p - share_p g) of U's prompts follow from; ``covector`` is v = J^T mean x."""

    policy: Policy
    batch: UpdateBatch
    line: Linearisation
    covector: dict[str, torch.Tensor]
    weights: torch.Tensor
    shares: np.ndarray
    chunk_tokens: int

    def of(
        self, chosen: list[int], some: Rollouts, unit: EntropyUnit
    ) -> tuple[dict[int, float], np.ndarray, dict[str, torch.Tensor]]:
        """(<v, g_p> by p, <x_n, y_p> ``[N, K]``, the last y_p) of K chosen prompts of U and N prompts of E."""
        known: dict[int, float] = {}
        columns: list[np.ndarray] = []
        vectors: list[dict[str, torch.Tensor]] = []
        at_once = directions_at_once(self.policy)
        for group in (chosen[i : i + at_once] for i in range(0, len(chosen), at_once)):
            vectors = [self._part(p, known) for p in group]
            along = derivatives_along(self.policy, some, vectors, unit.estimators, chunk_tokens=self.chunk_tokens)
            columns += [unit.values({name: x[k] for name, x in along.items()}, some) for k in range(len(group))]
        return known, np.stack(columns, axis=1), vectors[-1]

    def _part(self, p: int, known: dict[int, float]) -> dict[str, torch.Tensor]:
        """y_p; <v, g_p> is added to ``known``."""
        own, one = len(self.weights) * self.weights[[p]], self.batch.rollouts.select([p])
        g = policy_gradient(self.policy, one, own, chunk_tokens=self.chunk_tokens)
        known[p] = inner(self.covector, g)
        whole = self.line.gradient
        return self.line.pushforward({name: g[name] - self.shares[p] * whole[name] for name in whole})


def update_parts(
    policy: Policy,
    rollouts: Rollouts,
    weights: torch.Tensor,
    covector: dict[str, torch.Tensor],
    *,
    chunk_tokens: int,
    known: Mapping[int, float] | None = None,
) -> np.ndarray:
    """<v, g_p> ``[B_U]`` with mean <v, g>, where g_p = -B_U sum_g w_pg grad S_pg is prompt p's part of the gradient.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: U, B_U prompts x G responses.
        weights: token weights w ``[B_U, G]``.
        covector: v by live parameter name.
        chunk_tokens: token budget of a piece.
        known: <v, g_p> by p of the prompts whose g_p was at hand, which are not computed again.
    """
    products = np.array([(known or {}).get(p, np.nan) for p in range(len(rollouts))])
    others = [p for p in range(len(rollouts)) if p not in (known or {})]
    if others:
        parts = {"parts": -len(weights) * weights[others]}
        passed = directional_derivatives(
            policy, rollouts.select(others), covector, (), chunk_tokens=chunk_tokens, sequence_weights=parts
        )
        products[others] = passed.per_prompt["parts"]
    return products


def _shares(batch: UpdateBatch, config: ProbeConfig) -> np.ndarray:
    rewards = torch.tensor(batch.rewards, dtype=torch.float64)
    lengths = batch.rollouts.lengths.cpu()
    shares = normaliser_shares(
        rewards, lengths, config.loss_type, scaling=config.scale_rewards, epsilon=config.advantage_epsilon
    )
    return shares.numpy()
