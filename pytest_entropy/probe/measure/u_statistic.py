"""delta_h1 from a single batch, as a U-statistic over pairs of different prompts (docs/mathematics.md §5).

With x_n a prompt's part of the entropy gradient and y_n its part of the update direction, the product <x_n, y_n> of a
prompt with itself has another mean than the product <x_n, y_m> of two different prompts.  Including the n = m terms
gives the V-statistic, with a bias of order 1/B; so

    U = 1/(B(B-1)) sum_{n != m} <x_n, y_m> = B/(B-1) <mean x, mean y> - 1/(B(B-1)) sum_n <x_n, y_n>,

which is unbiased for <E x, E y> (Hoeffding 1948).  With ``blocks``, M blocks of B/M prompts take the place of prompts.
Only update rules that are linear in the gradient have parts y_n.  Memory does not grow with B: it holds two vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives, directional_derivatives
from pytest_entropy.probe.derivatives.gradient import entropy_and_policy_gradient, entropy_gradient, policy_gradient
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.oracles.variance import gradient_of_prompt, row_discrepancy
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.variance.spread import Spread
from pytest_entropy.probe.variance.total import update_parts
from pytest_entropy.records.diagnostics import SingleBatchParts


@dataclass(frozen=True)
class UStatistic:
    """The U-statistic of a single batch of B prompts in M blocks (M = B: every prompt is a block of its own).

    Attributes:
        blocks: M.
        row_means: r_n ``[B]``: mean of (<x_n, y_m> + <x_m, y_n>) / 2 over the prompts m of the other blocks.
        plug_in: <mean x, mean y>, the V-statistic; biased.
        diagonal: mean over blocks of <x_b, y_b>, where x_b and y_b are block means.
        diagonal_gap: the gap between one prompt's product with its own block and its definition, relative to the sum
            of absolute contributions.
        row_gap: the gap between one prompt's row mean and its definition, relative likewise; None for M < B.

    Products are in nats per response per unit of eta.
    """

    blocks: int
    row_means: np.ndarray
    plug_in: float
    diagonal: float
    diagonal_gap: float
    row_gap: float | None = None

    @property
    def value(self) -> float:
        """U = (M plug_in - diagonal) / (M - 1), in nats per response per unit of eta."""
        return without_diagonal(self.plug_in, self.diagonal, self.blocks)

    @property
    def pseudo_values(self) -> np.ndarray:
        """U + 2 sqrt(F) (r_n - U) ``[B]`` with F the ``inflation``: their mean is U, and var(ddof = 1) / B estimates
        its variance, on average never too low.  Without blocks they are the jackknife's: B U - (B - 1) U without n."""
        return self.value + 2 * math.sqrt(self.inflation or 1.0) * (self.row_means - self.value)

    @property
    def inflation(self) -> float | None:
        """F, which makes the variance of the row means, F times, no less than zeta_1 on average; None for B = 2.

        A row mean holds its prompt's projection less a share of all others', so that its variance is too small by
        1/F = (B - (3M - 4)/(M - 1)) / (B - 1); for M = B this is ((B - 2)/(B - 1))^2, the jackknife's.
        """
        B, M = len(self.row_means), self.blocks
        return (B - 1) / (B - (3 * M - 4) / (M - 1)) if B > 2 else None

    def spread(self, eta: float) -> Spread:
        """The variance of delta_h1 = eta U, which is over batches: update and entropy gradient share one."""
        variance = float(eta**2 * self.pseudo_values.var(ddof=1) / len(self.row_means))
        return Spread(variance, variance**0.5)

    def record(self) -> SingleBatchParts:
        """The part of the run's record from which ``value`` can be recomputed."""
        return SingleBatchParts(
            blocks=self.blocks,
            plug_in=self.plug_in,
            diagonal=self.diagonal,
            diagonal_gap=self.diagonal_gap,
            row_gap=self.row_gap,
            zeta_1=self.zeta_1,
            zeta_1_jackknife=self.zeta_1_jackknife,
        )

    @property
    def zeta_1(self) -> float:
        """Plug-in estimate of zeta_1 = Var(E[h(n, m) | n]), the variance of the row means."""
        return float(self.row_means.var(ddof=1))

    @property
    def zeta_1_jackknife(self) -> float | None:
        """B/4 times the variance of U by the pseudo-values: ``inflation`` times ``zeta_1``; None for B = 2."""
        return None if self.inflation is None else self.zeta_1 * self.inflation


def without_diagonal(plug_in: float, diagonal: float, blocks: int) -> float:
    """The U-statistic: the mean product over pairs of different blocks (docs/mathematics.md §5).

    Args:
        plug_in: the mean product over all pairs of blocks, a block with itself included.
        diagonal: the mean product of a block with itself.
        blocks: M, the number of blocks.
    """
    return (blocks * plug_in - diagonal) / (blocks - 1)


def u_statistic(
    policy: Policy,
    rollouts: Rollouts,
    weights: torch.Tensor,
    line: Linearisation,
    direction: dict[str, torch.Tensor],
    estimator: str,
    *,
    blocks: int | None,
    chunk_tokens: int,
    threads: int = 1,
) -> tuple[UStatistic, Derivatives]:
    """The U-statistic of one batch, and the derivatives along ``direction`` = mean y (docs/mathematics.md §5).

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: B prompts x G responses, for both the update and the entropy gradient.
        weights: token weights w ``[B, G]`` of the loss -sum w_pg S_pg.
        line: du/dg of a linear rule.
        direction: u at the gradient of the loss, by live parameter name.
        estimator: name of the estimator that defines x_n.
        blocks: M, which divides B; None: every prompt is a block of its own.
        chunk_tokens: token budget of a piece.
        threads: number of pieces computed at once.

    Raises:
        ValueError: M < 2, or M does not divide B.
    """
    B, M = len(rollouts), len(rollouts) if blocks is None else blocks
    if M < 2 or B % M:
        raise ValueError(f"{B} prompts cannot be cut into {M} equal blocks: give a number >= 2 that divides B_E")
    chunk, one = chunk_tokens, [estimator]
    along = directional_derivatives(policy, rollouts, direction, one, chunk_tokens=chunk, threads=threads)
    mean_x = entropy_gradient(policy, rollouts, estimator, chunk_tokens=chunk)
    by_x = along.per_prompt[estimator]
    by_y = update_parts(policy, rollouts, weights, [line.pullback(mean_x)], chunk_tokens=chunk)[:, 0]
    own_x, own_y = np.zeros(B), np.zeros(B)
    for indices in np.arange(B).reshape(M, -1).tolist():
        own_x[indices], own_y[indices] = own_block(
            policy, rollouts.select(indices), B * weights[indices], line, estimator, chunk_tokens=chunk_tokens
        )
    rows = (without_diagonal_rows(by_x, own_x, M) + without_diagonal_rows(by_y, own_y, M)) / 2
    gap = _diagonal_discrepancy(policy, rollouts, weights, line, own_x, M, estimator, chunk_tokens=chunk_tokens)
    row_gap = None
    if M == B:
        # The prompt whose two sides differ most: a row mean of one side alone is another.
        n = int(np.abs(by_x - by_y).argmax())
        y = _part_of_direction(policy, rollouts, weights, line, n)
        row_gap = row_discrepancy(policy, rollouts, float(rows[n]), n, y, direction, mean_x, estimator)
    return UStatistic(M, rows, inner(mean_x, direction), float(own_x.mean()), gap, row_gap), along


def _part_of_direction(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, line: Linearisation, n: int
) -> dict[str, torch.Tensor]:
    """y_n = J g_n by live parameter name, with g_n from a plain backward, 0 for parameters that it does not reach."""
    gradient = gradient_of_prompt(policy, rollouts, weights, n)
    whole = {name: gradient.get(name, torch.zeros_like(g)).to(g.device) for name, g in line.gradient.items()}
    return line.pushforward(whole)


def without_diagonal_rows(all_pairs: np.ndarray, own: np.ndarray, blocks: int) -> np.ndarray:
    """Each prompt's mean product with the prompts of the other blocks, ``[B]``.

    Args:
        all_pairs: ``[B]``, its mean product with all prompts.
        own: ``[B]``, its mean product with the prompts of its own block.
        blocks: M, the number of blocks.
    """
    others: np.ndarray = (blocks * all_pairs - own) / (blocks - 1)
    return others


def own_block(
    policy: Policy,
    rollouts: Rollouts,
    weights: torch.Tensor,
    line: Linearisation,
    estimator: str,
    *,
    chunk_tokens: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(<x_n, y_b>, <x_b, y_n>) of one block's prompts n with the block's means x_b and y_b, ``[B/M]`` each.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: the block's B/M prompts x G responses.
        weights: w ``[B/M, G]``, such that y_n = J (-sum_g w_ng grad S_ng).
        line: J = du/dg of a linear rule.
        estimator: name of the estimator that defines x_n.
        chunk_tokens: token budget of a piece.
    """
    share = weights / len(rollouts)
    x, g = entropy_and_policy_gradient(policy, rollouts, estimator, share, chunk_tokens=chunk_tokens)
    y = line.pushforward(g)
    if len(rollouts) == 1:
        product = np.array([inner(x, y)])
        return product, product
    along = directional_derivatives(policy, rollouts, y, [estimator], chunk_tokens=chunk_tokens)
    by_y = update_parts(policy, rollouts, share, [line.pullback(x)], chunk_tokens=chunk_tokens)[:, 0]
    return along.per_prompt[estimator], by_y


def _diagonal_discrepancy(
    policy: Policy,
    rollouts: Rollouts,
    weights: torch.Tensor,
    line: Linearisation,
    own_x: np.ndarray,
    blocks: int,
    estimator: str,
    *,
    chunk_tokens: int,
) -> float:
    """Relative gap of <x_n, y_b> from its definition, for the prompt with the fewest response tokens and its block."""
    n = int(rollouts.lengths.sum(1).argmin())
    size = len(rollouts) // blocks
    indices = list(range(n - n % size, n - n % size + size))
    gradient = policy_gradient(policy, rollouts.select(indices), blocks * weights[indices], chunk_tokens=chunk_tokens)
    oracle = by_definition(policy, rollouts, n, line.pushforward(gradient), estimator)
    assert oracle.s is not None
    assert oracle.size is not None
    gap = abs(oracle.s - float(own_x[n]))
    return gap / oracle.size if oracle.size else gap
