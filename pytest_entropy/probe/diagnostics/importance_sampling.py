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

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.pieces import scoring_chunks, work_through

# The step is chosen so that log-weights have about this spread: far above rounding, and so small that the third
# derivative, which is heavy-tailed as well, stays far below the standard error of thousands of prompts.
LOG_WEIGHT_SPREAD = 0.005
# No step is chosen longer than this share of the trainable parameters' norm: where even that hardly moves a response,
# as in a policy that has collapsed, theta + h u is no neighbour of theta any more.
LONGEST_SHARE = 0.5
# What is even in the step may be this share of what is odd; where it is more the step is cut, so many times at most.
# A batch without a surprise says nothing of how far the tokens move that were not drawn.
LARGEST_EVEN, CUT, MOST_CUTS = 0.05, 8, 4


class Totals(NamedTuple):
    """Of every response at one point in parameter space: S and sum_k H_k, each ``[P, G]`` float64 nats."""

    sequence: np.ndarray
    nats: np.ndarray


@contextmanager
def moved(policy: Policy, direction: Mapping[str, torch.Tensor], step: float) -> Iterator[None]:
    """Within the block the parameters are theta + step * u; afterwards they are theta again, bit by bit."""
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
    """|step taken - step meant| / |step meant|: what the precision of the weights does to a step; 0 for no step."""
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
    """The step of length ``LONGEST_SHARE`` times the norm of the parameters ``direction`` moves; inf if it is 0."""
    size = sum(float(policy.trainable[name].detach().double().square().sum()) for name in direction)
    length = sum(float(u.double().square().sum()) for u in direction.values())
    return float(LONGEST_SHARE * (size / length) ** 0.5) if length else float("inf")


@dataclass(frozen=True)
class TotalsPiece:
    """S and sum_k H_k to be had of some prompts' responses, at whatever parameters the policy has then."""

    part: Rollouts

    def compute(self, policy: Policy) -> Totals:
        """Score them."""
        with torch.no_grad():
            forced = policy.teacher_force(self.part)
        return Totals(forced.log_probs.double().sum(-1).cpu().numpy(), forced.entropies.double().sum(-1).cpu().numpy())


def sequence_totals(policy: Policy, rollouts: Rollouts, *, chunk_tokens: int, threads: int = 1) -> Totals:
    """S and sum_k H_k of every response at the policy's present parameters."""
    rollouts = replace(rollouts, control_variate=None)  # what a derivative needs of them, no total does

    shape = (len(rollouts), rollouts.group_size)
    totals = Totals(np.zeros(shape), np.zeros(shape))
    chunks = scoring_chunks(rollouts, chunk_tokens)
    for indices, (s, h) in work_through(
        policy, chunks, lambda indices: TotalsPiece(rollouts.select(indices)), threads=threads
    ):
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
    """:func:`sequence_totals` of the same responses at theta + step * u."""
    with moved(policy, direction, step):
        return sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens, threads=threads)


def entropy_change(before: Totals, after: Totals) -> np.ndarray:
    """Delta_n ``[P]`` in nats per response from one point to another, unbiased; not finite where weights overflow.

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
    """(sum w)^2 / sum w^2 as a share of the number of weights along ``axis`` (all of them if None), in (0, 1]."""
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
) -> np.ndarray | None:
    """(Delta_n(h) - Delta_n(-h)) / 2h ``[P]``: what s_n estimates, without any derivative.

    ``score`` ``[P]`` are the directional forced <grad S, u> averaged over each group; they set the step, which is cut
    where the entropy changes by much that is even in it.  None where no step of up to :func:`longest_step` moves the
    responses enough to tell a change from rounding, or none is short enough for first order.
    """
    if not any(bool(u.any()) for u in direction.values()):
        return np.zeros(len(rollouts))
    spread = float(np.std(score)) * rollouts.group_size**0.5
    if not spread * longest_step(policy, direction) >= LOG_WEIGHT_SPREAD:
        return None
    step = LOG_WEIGHT_SPREAD / spread
    before = sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens)
    first, before_cut = None, np.inf
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
        # Curvature falls by the square of the cut.  Rounding does not, and the longest step has the least of it.
        if first is not None and even > before_cut / CUT:
            return first
        first = slope if first is None and np.isfinite(slope).all() and odd > 0 else first
        before_cut, step = even, step / CUT
    return None
