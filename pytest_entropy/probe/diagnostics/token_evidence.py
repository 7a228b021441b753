"""Token-level arrays for surprisal checks, and likelihood ratios against wrong samplers (docs/mathematics.md §8)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import COLUMNS, Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.pieces import scoring_chunks, work_through
from pytest_entropy.records.seeds import generator

# Tokens of a run whose likelihood ratios are computed.  To second order a sampler at 1.1 times the temperature leaves
# 0.005 nats in a token whose surprisal varies by 1 nat, so 250 nats in these; a dozen decide.
MOST_TOKENS = 50_000


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


def total_sampler_log_ratios(
    policy: Policy, rollouts: Rollouts, *, seed: int, chunk_tokens: int, threads: int = 1
) -> dict[str, np.ndarray]:
    """Log likelihood ratios of the tokens together against J wrong samplers, of at most :data:`MOST_TOKENS` tokens.

    Args:
        policy: scores the tokens.
        rollouts: P prompts x G responses.
        seed: the run's own seed, which chooses the tokens.
        chunk_tokens: token budget of a piece.
        threads: number of pieces computed at once.

    Returns:
        ``sampler_evidence`` ``[J, 2]``, nats; rows follow :data:`~pytest_entropy.policy.alternatives.ALTERNATIVES`.
        Column 0 is the ratio; column 1 its expectation if the wrong sampler had drawn the tokens.
        ``evidence_tokens`` ``[]``, the number of tokens that it is of.
    """
    some = subsample(rollouts, seed, MOST_TOKENS)
    chunks = scoring_chunks(some, chunk_tokens, pads=policy.pads)
    parts = work_through(policy, chunks, lambda indices: LogRatiosPiece(some.select(indices)), threads=threads)
    total: np.ndarray = np.sum([part for _, part in parts], axis=0)
    return {"sampler_evidence": total, "evidence_tokens": np.array(int(some.lengths.sum()))}


def subsample(rollouts: Rollouts, seed: int, tokens: int) -> Rollouts:
    """At most so many tokens of the responses: the first ones, in a random order of responses.

    The order takes one response to each prompt, then a second to each, and so on; prompts and responses are in an order
    that depends on the seed alone.  The response in which the number is reached is cut there.  So whether a token is
    taken depends only on the tokens before it, and the likelihood ratio of those taken has mean 1 still.

    Args:
        rollouts: P prompts x G responses; returned as they are if they have no more tokens.
        seed: the run's own seed.
        tokens: largest number of tokens, at least 1.
    """
    if int(rollouts.lengths.sum()) <= tokens:
        return rollouts
    rng = generator(seed, "evidence")
    prompts = rng.permutation(len(rollouts))
    responses = rng.permuted(np.tile(np.arange(rollouts.group_size), (len(rollouts), 1)), axis=1)
    index = torch.from_numpy(prompts).unsqueeze(1), torch.from_numpy(responses[prompts])
    lengths = rollouts.lengths.cpu()[index]
    in_order = lengths.T.reshape(-1)
    before = (in_order.cumsum(0) - in_order).reshape(lengths.T.shape).T
    kept = torch.minimum(lengths, (tokens - before).clamp(min=0))
    count, rounds = int((kept[:, 0] > 0).sum()), int((kept.sum(0) > 0).sum())
    where = tuple(i[:count].expand(count, rollouts.group_size)[:, :rounds].to(rollouts.tokens.device) for i in index)
    columns = {name: getattr(rollouts, name)[where] for name in COLUMNS}
    columns["lengths"] = kept[:count, :rounds].to(rollouts.lengths.device)
    return replace(rollouts, prompt_ids=tuple(rollouts.prompt_ids[n] for n in prompts[:count]), **columns)
