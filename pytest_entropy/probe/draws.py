"""Which prompts make up E and U, from the seed alone."""

from __future__ import annotations

import numpy as np

from pytest_entropy.errors import RunError
from pytest_entropy.prompts import PromptSet
from pytest_entropy.seeds import generator


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
