"""Some of the prompts, for checks while planning that a large set would make slow."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.prompts.prompt import Prompt, PromptSet

# As many as a reward's answers are read of.
MOST = 2000


def some_prompts(prompts: PromptSet, most: int = MOST) -> Iterator[tuple[int, Prompt]]:
    """(number from 1, prompt) of all prompts, or of half of ``most`` at the beginning and the others over the rest.

    Args:
        prompts: the set.
        most: how many.
    """
    total, first = len(prompts), most // 2
    places = range(total)
    if total > most:
        step = (total - first) / (most - first)
        yield from ((n + 1, prompts[n]) for n in range(first))
        yield from ((n + 1, prompts[n]) for n in (first + int(k * step) for k in range(most - first)))
        return
    yield from ((n + 1, prompts[n]) for n in places)
