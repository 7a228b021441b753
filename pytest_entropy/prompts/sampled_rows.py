"""Which rows of a large set of prompts planning looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_entropy.prompts.prompt import Prompt, PromptSet

# Planning reads at most this many rows, half of them the first and half spread over the rest.
READ_WHEN_PLANNING = 2000


def sampled_rows(prompts: PromptSet) -> Iterator[tuple[int, Prompt]]:
    """Indices and prompts that planning looks at; the first only of a set that makes its prompts on demand."""
    indices = some_indices(len(prompts), READ_WHEN_PLANNING) if isinstance(prompts, list) else (0,)
    return ((n, prompts[n]) for n in indices)


def some_indices(count: int, most: int) -> Iterable[int]:
    """All indices below ``count``, or ``most`` of them: half are the first, half are spread over the rest."""
    half = most // 2
    if count <= most:
        return range(count)
    return (*range(half), *(half + n * (count - half) // half for n in range(half)))


def some_prompts(prompts: PromptSet, most: int = READ_WHEN_PLANNING) -> Iterator[tuple[int, Prompt]]:
    """(number from 1, prompt) of all prompts, or of half of ``most`` at the beginning and the others over the rest.

    Args:
        prompts: the set.
        most: how many.
    """
    return ((n + 1, prompts[n]) for n in some_indices(len(prompts), most))
