"""Draw a batch from its seed alone: its prompts, the responses to them, and the random numbers of its ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts, gathered
from pytest_entropy.probe.pieces import sampling_chunks, worked
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.records.seeds import generator, uniforms
from pytest_entropy.settings.probe import ProbeConfig

# Prompts counted for each one drawn: below a sampling fraction of 1 / COUNTED no spread changes visibly.
COUNTED = 100
# Sets of up to so many prompts are counted whole.
WHOLE = 20_000
# Prompts looked at for each companion, at most.
RARE = 100


def draw_prompts(
    prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str] = frozenset(), replace: bool = False
) -> list[int]:
    """Indices of ``count`` prompts drawn uniformly.

    Without replacement no two drawn prompts have the same content: a duplicate row would count one prompt twice as if
    the two were independent.

    Args:
        prompts: the set drawn from.
        count: number of prompts to draw.
        seed: seed of the draw.
        exclude: content keys that must not be drawn; not used with replacement.
        replace: draw with replacement.

    Raises:
        RunError: the set has too few distinct prompts.
    """
    rng: np.random.Generator = generator(seed, "prompts")
    if replace:
        return [int(i) for i in rng.integers(0, len(prompts), size=count)]
    taken = set(exclude)
    chosen: list[int] = []
    # Keys are computed one by one, since a few more prompts than ``count`` are nearly always enough.
    order = rng.permutation(len(prompts))
    for index in order:
        key = prompts[int(index)].key
        if key in taken:
            continue
        taken.add(key)
        chosen.append(int(index))
        if len(chosen) == count:
            return chosen
    raise RunError(
        f"only {len(chosen)} distinct prompts of {len(prompts)} are left for {count} (others are in the update "
        "batch or have the same text); give more prompts, smaller batches, or --with-replacement"
    )


def draw_companions(prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str] = frozenset()) -> list[int]:
    """Indices of ``count`` prompts drawn uniformly and independently, with replacement, for companion reads.

    Args:
        prompts: the set drawn from.
        count: number of prompts to draw.
        seed: seed of the draw.
        exclude: content keys that are not drawn.

    Raises:
        RunError: hardly any other prompt is left.
    """
    rng = generator(seed, "companions")
    chosen: list[int] = []
    for _ in range(RARE * max(count, 1)):
        index = int(rng.integers(len(prompts)))
        if prompts[index].key not in exclude:
            chosen.append(index)
        if len(chosen) == count:
            return chosen
    raise RunError(
        f"hardly any of {len(prompts)} prompts is left to be read beside those of U and E; give more prompts, smaller "
        "batches, or batch_config.reads: 0"
    )


def sampling_fraction(
    prompts: PromptSet, count: int, *, exclude: frozenset[str] = frozenset(), replace: bool = False
) -> float:
    """Share of the distinct prompts that a draw takes, in (0, 1]; 0 with replacement.

    In sets above ``WHOLE`` distinct prompts are counted up to ``COUNTED`` times ``count``; beyond that the rest of the
    set is assumed to hold duplicates at the rate found so far, and the fraction is below 1 / ``COUNTED``.

    Args:
        prompts: the set drawn from.
        count: number of prompts drawn.
        exclude: content keys that are not drawn.
        replace: whether the draw is with replacement.
    """
    if replace:
        return 0.0
    distinct: set[str] = set()
    read = 0
    for read in range(1, len(prompts) + 1):
        key = prompts[read - 1].key
        if key not in exclude:
            distinct.add(key)
        if len(prompts) > WHOLE and len(distinct) >= COUNTED * count:
            break
    return count / max(count, len(distinct) * len(prompts) / read)


@dataclass(frozen=True)
class SamplePiece:
    """A request for responses to p of a batch's prompts.

    Attributes:
        indices: the prompts' indices n in the batch, ``[p]``.
        ids: the prompts' token ids.
        seed: response g to prompt n takes its random numbers from (seed, n, g).
        group: number of responses to each prompt.
        limit: largest number of tokens of a response.
    """

    indices: tuple[int, ...]
    ids: tuple[tuple[int, ...], ...]
    seed: int
    group: int
    limit: int

    def compute(self, policy: Policy) -> Rollouts:
        """Draw the responses, p prompts x ``group``."""
        draws = [uniforms(self.seed, n, self.group, self.limit) for n in self.indices]
        return policy.sample(self.ids, torch.from_numpy(np.stack(draws)))


def draw_responses(
    policy: Policy, prompts: Sequence[Prompt], seed: int, config: ProbeConfig, *, group: int, threads: int = 1
) -> Rollouts:
    """Draw responses to a batch of prompts: P prompts x ``group`` responses, on the policy's device.

    Response g to prompt n takes its random numbers from (seed, n, g), so that it does not depend on the rest of the
    batch.

    Args:
        policy: the policy to sample from.
        prompts: the P prompts.
        seed: seed of the draw.
        config: gives ``max_new_tokens`` and the number of rows sampled together.
        group: number of responses to each prompt.
        threads: number of pieces computed at once.
    """
    ids = [tuple(prompt.encoded(policy.encode)) for prompt in prompts]

    def piece(indices: list[int]) -> SamplePiece:
        return SamplePiece(tuple(indices), tuple(ids[n] for n in indices), seed, group, config.max_new_tokens)

    chunks = sampling_chunks([len(row) for row in ids], group, config.sample_rows, policy.device.type)
    return gathered(worked(policy, chunks, piece, threads=threads), len(ids))


def draw_ranks(rollouts: Rollouts, seed: int) -> torch.Tensor:
    """Uniform numbers in [0, 1), ``[P, G, L]`` float64, that randomise a token's rank within its own probability.

    Args:
        rollouts: P prompts x G responses, for the shape.
        seed: the run's own seed.
    """
    return torch.from_numpy(generator(seed, "ranks").random(tuple(rollouts.tokens.shape)))
