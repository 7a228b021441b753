"""Everything random about a batch, from the seed alone: its prompts, the responses to them, the spread of ranks."""

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

# Prompts counted for each one drawn: what a batch takes of more than that changes no spread that could be seen.
COUNTED = 100


def draw_prompts(
    prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str] = frozenset(), replace: bool = False
) -> list[int]:
    """Indices of ``count`` prompts, uniformly, none of them with a content in ``exclude``.

    Without replacement two drawn prompts never have the same content either: a duplicate row would be one
    prompt counted twice as if independent.

    Raises:
        RunError: the set has too few distinct prompts.
    """
    rng: np.random.Generator = generator(seed, "prompts")
    if replace:
        return [int(i) for i in rng.integers(0, len(prompts), size=count)]
    taken = set(exclude)
    chosen: list[int] = []
    # A little more than needed is nearly always enough; the whole permutation only if it is not.
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


def sampling_fraction(
    prompts: PromptSet, count: int, *, exclude: frozenset[str] = frozenset(), replace: bool = False
) -> float:
    """``count`` over the number of distinct prompts that may be drawn; 0 with replacement.

    Prompts are counted up to ``COUNTED`` times ``count``; a set with more is taken to repeat itself in the rest as it
    does so far.  The fraction is below 1 / ``COUNTED`` then.
    """
    if replace:
        return 0.0
    found: set[str] = set()
    looked = 0
    for looked in range(1, len(prompts) + 1):
        key = prompts[looked - 1].key
        if key not in exclude:
            found.add(key)
        if len(found) >= COUNTED * count:
            break
    return count / max(count, len(found) * len(prompts) / looked)


@dataclass(frozen=True)
class SamplePiece:
    """Responses to draw to some prompts of a batch.

    ``indices`` are the prompts' places in the batch, ``ids`` their tokens; response g to prompt n is keyed by
    (``seed``, n, g), and has ``limit`` tokens at most.
    """

    indices: tuple[int, ...]
    ids: tuple[tuple[int, ...], ...]
    seed: int
    group: int
    limit: int

    def compute(self, policy: Policy) -> Rollouts:
        """Draw them."""
        draws = [uniforms(self.seed, n, self.group, self.limit) for n in self.indices]
        return policy.sample(self.ids, torch.from_numpy(np.stack(draws)))


def draw_responses(
    policy: Policy, prompts: Sequence[Prompt], seed: int, config: ProbeConfig, *, group: int, threads: int = 1
) -> Rollouts:
    """``group`` responses to each prompt; response g to prompt n is keyed by (seed, n, g), whatever is beside it."""
    ids = [tuple(prompt.encoded(policy.encode)) for prompt in prompts]

    def piece(indices: list[int]) -> SamplePiece:
        return SamplePiece(tuple(indices), tuple(ids[n] for n in indices), seed, group, config.max_new_tokens)

    chunks = sampling_chunks([len(row) for row in ids], group, config.sample_rows)
    return gathered(worked(policy, chunks, piece, threads=threads), len(ids))


def draw_ranks(rollouts: Rollouts, seed: int) -> torch.Tensor:
    """Uniform numbers ``[P, G, L]`` that spread a token's rank over its probability."""
    return torch.from_numpy(generator(seed, "ranks").random(tuple(rollouts.tokens.shape)))
