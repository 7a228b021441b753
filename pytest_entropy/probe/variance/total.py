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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

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


@dataclass(frozen=True)
class Pairs:
    """The prompts p of U and n of E whose products <x_n, y_p> T is estimated from, by position in their batches."""

    update: list[int]
    entropy: list[int]

    @classmethod
    def drawn(cls, B_E: int, B_U: int, rng: np.random.Generator) -> Pairs:
        """At most ``UPDATE_PROMPTS`` and ``ENTROPY_PROMPTS`` of the batches' prompts.

        Args:
            B_E, B_U: numbers of prompts.
            rng: picks them.
        """
        return cls(rng.permutation(B_U)[:UPDATE_PROMPTS].tolist(), rng.permutation(B_E)[:ENTROPY_PROMPTS].tolist())


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

    def part(self, p: int) -> dict[str, torch.Tensor]:
        """y_p of one prompt by live parameter name, in the parameters' type, float32 at least."""
        own, one = len(self.weights) * self.weights[[p]], self.batch.rollouts.select([p])
        g = policy_gradient(self.policy, one, own, chunk_tokens=self.config.tokens_at_once)
        whole = self.line.gradient
        y = self.line.pushforward({name: g[name] - self.shares[p] * whole[name] for name in whole})
        return {
            name: tensor.to(torch.promote_types(self.policy.trainable[name].dtype, torch.float32))
            for name, tensor in y.items()
        }

    def products(self, mean_x: Tensors, known: Mapping[int, float]) -> tuple[np.ndarray, list[float]]:
        """<mean x, y_p> ``[B_U]``, and discrepancies of one of them, and of J, from their definitions.

        Args:
            mean_x: the entropy gradient of E, by live parameter name.
            known: <mean x, y_p> by p of the prompts whose y_p was at hand.
        """
        covector, gradient, rollouts = self.line.pullback(mean_x), self.line.gradient, self.batch.rollouts
        of_normaliser = self.shares * inner(covector, gradient)
        at_hand = {p: y + float(of_normaliser[p]) for p, y in known.items()}
        chunk = self.config.tokens_at_once
        y = update_parts(self.policy, rollouts, self.weights, covector, chunk_tokens=chunk, known=at_hand)
        y -= of_normaliser
        by = Products(mean_x, covector, gradient, self.line.pushforward)
        return y, products_discrepancies(self.policy, rollouts, self.weights, self.shares, y, by)


def total_variance(
    side: UpdateSide,
    rollouts: Rollouts,
    s: np.ndarray,
    mean_x: Tensors,
    unit: EntropyUnit,
    pairs: Pairs,
    *,
    eta: float,
    passed: tuple[Sequence[Tensors], np.ndarray] | None = None,
) -> TotalVariance:
    """V_X, V_Y and T of one run (docs/mathematics.md §4).

    Args:
        side: U's side.
        rollouts: E, B_E prompts x G responses.
        s: s_n ``[B_E]``, in ``unit`` per unit of eta.
        mean_x: the entropy gradient of E in ``unit``, by live parameter name.
        unit: the unit of entropy, with the estimator.
        pairs: the prompts that T is estimated from.
        eta: the learning rate.
        passed: where the run's own pass has taken them along, y_p of the K prompts of U, and <x_n, y_p> ``[B_E, K]``.

    Raises:
        ValueError: B_U = 1, which leaves no variance over U.
    """
    if len(side.batch.rollouts) < 2:
        raise ValueError("B_U is 1: the total variance needs at least 2 prompts in the update batch")
    some = rollouts.select(pairs.entropy)
    along = iter([passed]) if passed else _along(side, some, unit, pairs)
    known: dict[int, float] = {}
    columns: list[np.ndarray] = []
    gaps: list[float] = []
    for vectors, cross in along:
        for p, y, column in zip(pairs.update[len(columns) :], vectors, cross.T, strict=False):
            terms = [inner({name: mean_x[name]}, y) for name in y]
            known[p] = sum(terms)
            columns.append(column)
            if len(some) == len(rollouts):
                size = sum(map(abs, terms)) + float(np.abs(column).mean())
                gaps.append(abs(float(column.mean()) - known[p]) / (size or 1.0))
        last = vectors[-1]
    if len(some) < len(rollouts) and unit.name == "sequence":
        gaps.append(pair_discrepancy(side.policy, some, last, float(columns[-1][0]), unit.estimator))
    products, of_products = side.products(mean_x, known)
    found = combine(s, products, np.stack(columns, axis=1), eta=eta)
    return replace(found, definition=largest([*gaps, *of_products]))


def _along(
    side: UpdateSide, some: Rollouts, unit: EntropyUnit, pairs: Pairs
) -> Iterator[tuple[list[dict[str, torch.Tensor]], np.ndarray]]:
    """(y_p, <x_n, y_p> ``[N, k]``) of as many of U's prompts at a time as memory should hold."""
    at_once = directions_at_once(side.policy)
    for first in range(0, len(pairs.update), at_once):
        vectors = [side.part(p) for p in pairs.update[first : first + at_once]]
        chunk = side.config.tokens_at_once
        found = derivatives_along(side.policy, some, vectors, unit.estimators, chunk_tokens=chunk)
        values = [unit.values({name: x[k] for name, x in found.items()}, some) for k in range(len(vectors))]
        yield vectors, np.stack(values, axis=1)


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
