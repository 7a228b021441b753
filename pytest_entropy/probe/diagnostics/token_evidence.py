"""Token-level arrays for surprisal checks, and likelihood ratios against wrong samplers (docs/mathematics.md §8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.pieces import scoring_chunks, work_through


def token_arrays(rollouts: Rollouts, derivatives: Derivatives) -> dict[str, np.ndarray]:
    """Token-level arrays for the surprisal checks (docs/mathematics.md §8), and each prompt's expected surprises.

    Args:
        rollouts: P prompts x G responses.
        derivatives: their scoring pass.

    Returns:
        ``first_surprises`` ``[P]``, where the scoring pass knows them.  If ranks were computed also ``ranks`` and
        ``surprisal_sd`` (nats), one entry per token that counts; ``excess_surprisal`` ``[P]``, a prompt's
        mean of sum_k (-log pi(t_k) - H_k) per response, nats.
    """
    first = derivatives.first_surprises
    known = {"first_surprises": first} if np.isfinite(first).all() else {}
    if derivatives.ranks is None or derivatives.surprisal_sd is None:
        return known
    mask = rollouts.mask.cpu()
    surprisal = -derivatives.log_probs.double() - derivatives.entropies.double()
    return known | {
        "ranks": derivatives.ranks[mask].numpy(),
        "surprisal_sd": derivatives.surprisal_sd[mask].numpy(),
        "excess_surprisal": surprisal.sum(-1).mean(1).numpy(),
    }


@dataclass(frozen=True)
class LogRatiosPiece:
    """A request for the log likelihood ratios of p prompts' responses against every wrong sampler."""

    part: Rollouts

    def compute(self, policy: Policy) -> np.ndarray:
        """Sums over the responses' tokens, ``[J, 2]`` (:func:`total_sampler_log_ratios`)."""
        return policy.sampler_log_ratios(self.part).cpu().numpy()


def total_sampler_log_ratios(policy: Policy, rollouts: Rollouts, *, chunk_tokens: int, threads: int = 1) -> np.ndarray:
    """Log likelihood ratios of all tokens together against J wrong samplers, ``[J, 2]``, nats.

    Rows follow :data:`~pytest_entropy.policy.alternatives.ALTERNATIVES`.  Column 0 is the ratio; column 1 its
    expectation if the wrong sampler had drawn the tokens.

    Args:
        policy: scores the tokens.
        rollouts: P prompts x G responses.
        chunk_tokens: token budget of a piece.
        threads: number of pieces computed at once.
    """
    chunks = scoring_chunks(rollouts, chunk_tokens)
    parts = work_through(policy, chunks, lambda indices: LogRatiosPiece(rollouts.select(indices)), threads=threads)
    total: np.ndarray = np.sum([part for _, part in parts], axis=0)
    return total
