"""Ground truth: the entropy at theta + h u itself, from the same responses by importance sampling.

With log-weights l_g = log pi_h(t_g) - log pi_0(t_g) and H_g = sum_k H_k, the change of a prompt's entropy is

    Delta_n(h) = (1/G) sum_g [ w_g H_g(h) - H_g(0) - (w_g - 1) b_g ],   b_g = mean_{h != g} H_h(0).

E[w] = 1 exactly and b_g is independent of response g, so this is unbiased at every h, without the bias of
self-normalised weights.  (Delta(h) - Delta(-h)) / 2h is <grad H, u> up to O(h^2) (docs/mathematics.md §7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from pytest_entropy.policy.equal_responses import EqualResponses
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.pieces import scoring_chunks, work_through

# Standard deviation of log-weights that the step is chosen for: far above rounding, and so small that the error by the
# third derivative, which is heavy-tailed as well, stays far below the standard error of thousands of prompts.
LOG_WEIGHT_SPREAD = 0.005
# The longest step as a share of the trainable parameters' norm: where even that hardly moves a response, as in a policy
# that has collapsed, theta + h u is no longer near theta.
LONGEST_SHARE = 0.5
# The largest ratio of the change's even part in the step to its odd part; above it the step is divided by CUT, at most
# MOST_CUTS times.  (A batch without a surprise does not show how far the tokens move that were not drawn.)
LARGEST_EVEN, CUT, MOST_CUTS = 0.05, 8, 4


class Totals(NamedTuple):
    """S and sum_k H_k of every response at one point in parameter space.

    Attributes:
        sequence: S ``[P, G]`` float64, nats.
        nats: sum_k H_k ``[P, G]`` float64, nats.
    """

    sequence: np.ndarray
    nats: np.ndarray


@contextmanager
def moved(policy: Policy, direction: Mapping[str, torch.Tensor], step: float) -> Iterator[None]:
    """Set the parameters to theta + step * u within the block; afterwards restore theta bit by bit.

    Args:
        policy: the policy at theta.
        direction: u by live parameter name.
        step: the factor on u.
    """
    before = {name: policy.trainable[name].detach().clone() for name in direction}
    try:
        with torch.no_grad():
            for name, u in direction.items():
                parameter = policy.trainable[name]
                parameter.add_((step * u).to(device=parameter.device, dtype=parameter.dtype))
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                policy.trainable[name].copy_(value)


def step_rounding(policy: Policy, direction: Mapping[str, torch.Tensor], step: float) -> float:
    """|step taken - step meant| / |step meant|, the relative error by the precision of the weights; 0 for no step.

    Args:
        policy: the policy at theta.
        direction: u by live parameter name.
        step: the factor on u.
    """
    missed = meant = 0.0
    with torch.no_grad():
        for name, u in direction.items():
            parameter = policy.trainable[name]
            asked = (step * u).to(device=parameter.device)
            taken = (parameter + asked.to(parameter.dtype)) - parameter
            missed += float((taken.double() - asked.double()).square().sum())
            meant += float(asked.double().square().sum())
    return (missed / meant) ** 0.5 if meant else 0.0


def longest_step(policy: Policy, direction: Mapping[str, torch.Tensor]) -> float:
    """The step at which |step * u| is ``LONGEST_SHARE`` times the norm of the moved parameters; inf if u is 0.

    Args:
        policy: the policy at theta.
        direction: u by live parameter name.
    """
    size = sum(float(policy.trainable[name].detach().double().square().sum()) for name in direction)
    length = sum(float(u.double().square().sum()) for u in direction.values())
    return float(LONGEST_SHARE * (size / length) ** 0.5) if length else float("inf")


@dataclass(frozen=True)
class TotalsPiece:
    """A request for S and sum_k H_k of p prompts' responses at the parameters the policy has when it is computed."""

    part: Rollouts
    equal: EqualResponses

    def compute(self, policy: Policy) -> Totals:
        """Score the responses, equal ones once: totals ``[p, G]``."""
        with torch.no_grad():
            forced = self.equal.scored(policy, self.part)
        return Totals(forced.log_probs.double().sum(-1).cpu().numpy(), forced.entropies.double().sum(-1).cpu().numpy())


def sequence_totals(policy: Policy, rollouts: Rollouts, *, chunk_tokens: int, threads: int = 1) -> Totals:
    """S and sum_k H_k of every response at the policy's present parameters, ``[P, G]`` each.

    Args:
        policy: scores the responses.
        rollouts: P prompts x G responses.
        chunk_tokens: token budget of a piece.
        threads: number of pieces computed at once.
    """
    equal = EqualResponses.of(rollouts)
    rollouts = replace(rollouts, control_variate=None)  # only derivatives use the tables

    def piece(indices: list[int]) -> TotalsPiece:
        return TotalsPiece(rollouts.select(indices), equal.select(indices))

    shape = (len(rollouts), rollouts.group_size)
    totals = Totals(np.zeros(shape), np.zeros(shape))
    chunks = scoring_chunks(rollouts, chunk_tokens, pads=policy.pads, distinct=equal.distinct)
    for indices, (s, h) in work_through(policy, chunks, piece, threads=threads):
        totals.sequence[indices], totals.nats[indices] = s, h
    return totals


def totals_at(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    step: float,
    *,
    chunk_tokens: int,
    threads: int = 1,
) -> Totals:
    """:func:`sequence_totals` of the same responses at theta + step * u.

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        step: the factor on u.
        chunk_tokens: token budget of a piece.
        threads: number of pieces computed at once.
    """
    with moved(policy, direction, step):
        return sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens, threads=threads)


def entropy_change(before: Totals, after: Totals) -> np.ndarray:
    """Delta_n ``[P]``, the change of entropy in nats per response (docs/mathematics.md §7); unbiased at any step.

    Args:
        before: totals ``[P, G]`` where the responses were drawn.
        after: totals ``[P, G]`` of the same responses at the other point.

    Returns:
        ``[P]``; not finite where importance weights overflow.

    Raises:
        ValueError: G = 1, where there is no other response for the baseline.
    """
    group = before.nats.shape[1]
    if group < 2:
        raise ValueError("the importance-sampled entropy change needs G >= 2")
    others = (before.nats.sum(1, keepdims=True) - before.nats) / (group - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        # expm1 keeps the digits of weights close to 1.
        excess = np.expm1(after.sequence - before.sequence)
        change: np.ndarray = (after.nats - before.nats + excess * (after.nats - others)).mean(1)
    return change


def effective_sample_size(log_weights: np.ndarray, axis: int | None = None) -> np.ndarray:
    """(sum w)^2 / sum w^2 (Kish 1965) as a share of the number of weights, in (0, 1].

    Args:
        log_weights: log w, of any shape, nats.
        axis: the axis that is summed over; None: all.
    """
    w = np.exp(log_weights - log_weights.max(axis=axis, keepdims=True))
    count = log_weights.size if axis is None else log_weights.shape[axis]
    return np.asarray(w.sum(axis) ** 2 / np.square(w).sum(axis) / count)


def entropy_slope(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    score: np.ndarray,
    *,
    chunk_tokens: int,
    before: Totals | None = None,
) -> np.ndarray | None:
    """(Delta_n(h) - Delta_n(-h)) / 2h ``[P]``, nats per unit of eta: it estimates <grad H, u> without a derivative.

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        score: ``[P]``, <grad S, u> averaged over each group; its spread sets the step h, which is shortened where the
            even part of the change is large.
        chunk_tokens: token budget of a piece.
        before: the totals at theta, where they are known.

    Returns:
        ``[P]``; None where no step of up to :func:`longest_step` moves the responses enough to tell a change from
        rounding, or none is short enough for first order.
    """
    if not any(bool(u.any()) for u in direction.values()):
        return np.zeros(len(rollouts))
    spread = float(np.std(score)) * rollouts.group_size**0.5
    if not spread * longest_step(policy, direction) >= LOG_WEIGHT_SPREAD:
        return None
    step = LOG_WEIGHT_SPREAD / spread
    if before is None:
        before = sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens)
    slope_at_longest, even_before_cut = None, np.inf
    for _ in range(1 + MOST_CUTS):
        ahead, behind = (
            entropy_change(before, totals_at(policy, rollouts, direction, sign * step, chunk_tokens=chunk_tokens))
            for sign in (1, -1)
        )
        slope = np.asarray((ahead - behind) / (2 * step))
        with np.errstate(invalid="ignore", over="ignore"):
            odd, even = (float(np.abs(part).sum()) for part in (ahead - behind, ahead + behind))
        if odd > 0 and even <= LARGEST_EVEN * odd < np.inf:
            return slope
        # Curvature falls by the square of the cut; rounding does not, and is smallest at the longest step.
        if slope_at_longest is not None and even > even_before_cut / CUT:
            return slope_at_longest
        if slope_at_longest is None and np.isfinite(slope).all() and odd > 0:
            slope_at_longest = slope
        even_before_cut, step = even, step / CUT
    return None
