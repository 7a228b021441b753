"""Compare s_n of every prompt with the slope of its surrogate along u by finite differences, which takes no derivative.

The surrogate's weights come from the estimator's definition in plain loops and from the sampler's own record.  So a
part that backward and hooks lose alike, or that is lost for some prompts only, shows as a discrepancy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.text_part import has_experts
from pytest_entropy.probe.diagnostics.importance_sampling import LOG_WEIGHT_SPREAD, longest_step, moved
from pytest_entropy.probe.oracles.run import defined_weights
from pytest_entropy.probe.oracles.taught import taught_by
from pytest_entropy.probe.pieces import scoring_chunks, work_through
from pytest_entropy.stats.largest import largest

# The step's share of the importance-sampled slope's: the surrogate's curvature falls with it, and rounding stays below.
SHARE = 0.3
# Rounding is measured on one prompt in so many.
EVERY = 4


@dataclass(frozen=True)
class FixedSurrogate:
    """Weights of a batch's surrogate that stay as they are when the parameters move.

    Attributes:
        log_prob, entropy: of log pi(t_k) and of H_k, ``[P, G, L]`` float64.
        expected_value: of Q_k, ``[P, G, L]``; None for an estimator without it.
    """

    log_prob: torch.Tensor
    entropy: torch.Tensor
    expected_value: torch.Tensor | None

    @classmethod
    def of(cls, rollouts: Rollouts, estimator: str, values: tuple[torch.Tensor, torch.Tensor] | None) -> FixedSurrogate:
        """The estimator's weights by its definition, from the sampler's record.

        Args:
            rollouts: P prompts x G responses.
            estimator: the name of the estimator.
            values: Q_k and the prefixes' values at theta, ``[P, G, L]`` each, nats; None where the rollouts carry no
                tables.
        """
        shape, taught = rollouts.tokens.shape, None if values is None else taught_by(rollouts, estimator)
        log_prob, entropy, expected = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        means = (expected, expected) if values is None else values
        for n, lengths in enumerate(rollouts.lengths.tolist()):
            tables = [table[n].tolist() for table in (rollouts.log_probs, rollouts.entropies, *means)]
            own = [[row[:length] for row, length in zip(table, lengths, strict=True)] for table in tables]
            weights = defined_weights(estimator, rollouts, n, own[0], own[1], own[2], own[3], taught)
            for g, length in enumerate(lengths):
                log_prob[n, g, :length] = torch.tensor(weights.log_prob[g], dtype=torch.float64)
                entropy[n, g, :length] = torch.tensor(weights.entropy[g], dtype=torch.float64)
                if weights.expected_value:
                    expected[n, g, :length] = torch.tensor(weights.expected_value[g], dtype=torch.float64)
        return cls(log_prob, entropy, None if taught is None else expected)


@dataclass(frozen=True)
class SurrogatePiece:
    """A request for the surrogates of p prompts at the parameters the policy has when it is computed."""

    part: Rollouts
    surrogate: FixedSurrogate

    def compute(self, policy: Policy) -> np.ndarray:
        """Score the responses: surrogates ``[p]``, nats."""
        with torch.no_grad():
            forced = policy.teacher_force(self.part)
        terms = [(self.surrogate.log_prob, forced.log_probs), (self.surrogate.entropy, forced.entropies)]
        if self.surrogate.expected_value is not None and forced.expected_values is not None:
            terms.append((self.surrogate.expected_value, forced.expected_values))
        totals = [(weights * values.double().cpu()).sum((1, 2)) for weights, values in terms]
        return torch.stack(totals).sum(0).numpy()

    @classmethod
    def select(cls, rollouts: Rollouts, surrogate: FixedSurrogate, indices: list[int]) -> SurrogatePiece:
        """The piece of some of a batch's prompts.

        Args:
            rollouts: P prompts x G responses.
            surrogate: their weights.
            indices: which of the prompts.
        """
        part = rollouts.select(indices)
        longest = part.tokens.shape[2]
        expected = surrogate.expected_value
        return cls(
            part,
            FixedSurrogate(
                surrogate.log_prob[indices, :, :longest],
                surrogate.entropy[indices, :, :longest],
                None if expected is None else expected[indices, :, :longest],
            ),
        )


def slope_discrepancies(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    s: np.ndarray,
    score: np.ndarray,
    estimator: str,
    *,
    chunk_tokens: int,
    threads: int = 1,
) -> dict[str, float]:
    """Discrepancies of s_n from the central difference (F_n(h) - F_n(-h)) / 2h of its surrogate F_n, for every prompt.

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        s: s_n ``[P]`` by the estimator, nats per unit of eta.
        score: ``[P]``, <grad S, u> averaged over each group; its spread sets the step h.
        estimator: the name of the estimator.
        chunk_tokens: token budget of a piece.
        threads: number of pieces computed at once.

    Returns:
        ``slopes``: the largest discrepancy; ``slopes_mean``: that of the mean; ``slopes_noise``: the root mean square
        (the largest, where layers have experts) of (F_n(h) + F_n(-h) - 2 F_n(0)) / 2h, which holds as much rounding,
        and as large jumps, as the difference.  All relative to the root mean square of the finite differences, and
        absolute where u is 0.  Empty where no step moves the responses enough, as in a policy that has collapsed.
    """
    if not any(bool(u.any()) for u in direction.values()):
        return _discrepancies(np.zeros_like(s), s, noise=0.0, size=1.0)
    spread = float(np.std(score)) * rollouts.group_size**0.5
    if not spread * longest_step(policy, direction) >= LOG_WEIGHT_SPREAD or not spread < np.inf:
        return {}
    step = SHARE * LOG_WEIGHT_SPREAD / spread
    surrogate = FixedSurrogate.of(rollouts, estimator, _expected_values(policy, rollouts, chunk_tokens, threads))
    everyone = list(range(len(rollouts)))

    def at(h: float, prompts: list[int] = everyone) -> np.ndarray:
        part = SurrogatePiece.select(rollouts, surrogate, prompts)
        with moved(policy, direction, h):
            return _surrogates(policy, part.part, part.surrogate, chunk_tokens=chunk_tokens, threads=threads)

    routed = has_experts(policy.model)
    ahead, behind, some = at(step), at(-step), everyone if routed else everyone[::EVERY]
    slopes, even = (ahead - behind) / (2 * step), (ahead[some] + behind[some] - 2 * at(0.0, some)) / (2 * step)
    size = float(np.sqrt(np.square(slopes).mean()))
    return _discrepancies(slopes, s, noise=_noise(even, routed), size=size) if size > 0 else {}


@dataclass(frozen=True)
class ExpectedPiece:
    """A request for the expected action values of p prompts' tokens, and the values of their prefixes."""

    part: Rollouts

    def compute(self, policy: Policy) -> torch.Tensor | None:
        """Q_k and the prefixes' values ``[2, p, G, L]`` float64 nats, on the CPU."""
        with torch.no_grad():
            forced = policy.teacher_force(self.part)
        if forced.expected_values is None:
            return None
        values = torch.zeros_like(forced.expected_values) if forced.prefix_values is None else forced.prefix_values
        return torch.stack([forced.expected_values.double(), values.double()]).cpu()


def _expected_values(
    policy: Policy, rollouts: Rollouts, chunk_tokens: int, threads: int
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Q_k and the prefixes' values of all tokens at the policy's parameters, ``[P, G, L]`` float64 each.

    None where the rollouts carry no tables.
    """
    if rollouts.control_variate is None:
        return None
    table = torch.zeros(2, *rollouts.tokens.shape, dtype=torch.float64)
    chunks = scoring_chunks(rollouts, chunk_tokens, pads=policy.pads)
    for indices, values in work_through(
        policy, chunks, lambda some: ExpectedPiece(rollouts.select(some)), threads=threads
    ):
        if values is not None:
            table[:, indices, :, : values.shape[3]] = values
    return table[0], table[1]


def _noise(even: np.ndarray, routed: bool) -> float:
    """The size of the even parts; where a token's experts change, the surrogates of single prompts jump."""
    return float(np.abs(even).max() if routed else np.sqrt(np.square(even).mean()))


def _discrepancies(slopes: np.ndarray, s: np.ndarray, *, noise: float, size: float) -> dict[str, float]:
    return {
        "slopes": largest(np.abs(slopes - s).tolist()) / size,
        "slopes_mean": abs(float((slopes - s).mean())) / size,
        "slopes_noise": noise / size,
    }


def _surrogates(
    policy: Policy, rollouts: Rollouts, surrogate: FixedSurrogate, *, chunk_tokens: int, threads: int
) -> np.ndarray:
    """The surrogates of all prompts at the policy's present parameters, ``[P]``, nats."""
    totals, chunks = np.zeros(len(rollouts)), scoring_chunks(rollouts, chunk_tokens, pads=policy.pads)
    for indices, values in work_through(
        policy, chunks, lambda some: SurrogatePiece.select(rollouts, surrogate, some), threads=threads
    ):
        totals[indices] = values
    return totals
