"""Squared scores of U's tokens along the update: how much an error of a token's weight counts in the variance of s_n.

The variance that a baseline leaves is sum_k l_k^2 (C_k - b_k)^2, l_k the derivative of log pi(t_k) along u, so that
what is learnt for E is judged with l_k^2 (Greensmith, Bartlett and Baxter 2004).  A pass at theta + h u gives l_k well
enough to choose by; no estimate depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.importance_sampling import longest_step, moved
from pytest_entropy.probe.oracles.rounding_noise import is_coarse
from pytest_entropy.probe.pieces import scoring_chunks, work_through

# The first step as a share of the longest; the size of changes of log pi that is aimed at, and those that will do.
FIRST, AIM, LEAST, MOST = 2e-3, 1e-2, 1e-3, 5e-2
TRIES = 3
# Bytes of parameters that are moved at most, since a step holds a copy of them.
LARGEST = 2**30


@dataclass(frozen=True)
class LogProbsPiece:
    """A request for log pi(t_k) of p prompts' responses at the policy's present parameters."""

    part: Rollouts

    def compute(self, policy: Policy) -> torch.Tensor:
        """Score the responses: ``[p, G, L]`` float64 nats, on the CPU."""
        with torch.no_grad():
            return policy.teacher_force(self.part).log_probs.double().cpu()


def squared_scores(
    policy: Policy, batch: Rollouts, direction: Mapping[str, torch.Tensor], *, chunk_tokens: int
) -> torch.Tensor:
    """Numbers ``[P, G, L]`` float64 that l_k^2 are proportional to, on the CPU; 0 after a response's end.

    They are (1 - pi(t_k))^2, which l_k^2 is proportional to where two tokens compete, if u moves nothing, the weights
    are too coarse to tell, or those that move come to more than ``LARGEST`` bytes.

    Args:
        policy: at theta, which is restored bit by bit.
        batch: P prompts x G responses.
        direction: u by live parameter name.
        chunk_tokens: token budget of a piece.
    """
    batch = replace(batch, control_variate=None)
    mask, recorded = batch.mask.cpu(), batch.log_probs.double().cpu()
    competing = torch.expm1(recorded).square() * mask
    if is_coarse(policy) or sum(policy.trainable[name].nbytes for name in direction) > LARGEST:
        return competing
    longest = longest_step(policy, direction)
    if not 0 < longest < float("inf"):
        return competing
    step = FIRST * longest
    for _ in range(TRIES):
        with moved(policy, direction, step):
            change = (_log_probs(policy, batch, chunk_tokens) - recorded) * mask
        size = float((change.square().sum() / mask.sum()).sqrt())
        if LEAST <= size <= MOST:
            return change.square()
        if not 0 < size < float("inf"):
            return competing
        step = min(step * AIM / size, longest)
    return competing


def _log_probs(policy: Policy, batch: Rollouts, chunk_tokens: int) -> torch.Tensor:
    table = torch.zeros(batch.tokens.shape, dtype=torch.float64)
    chunks = scoring_chunks(batch, chunk_tokens, pads=policy.pads)
    for indices, found in work_through(policy, chunks, lambda some: LogProbsPiece(batch.select(some))):
        table[indices, :, : found.shape[2]] = found
    return table
