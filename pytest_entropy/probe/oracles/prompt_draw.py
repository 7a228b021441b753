"""The draw of prompts computed again from its seed: a permutation of the whole set, in order, without repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.records.seeds import generator

# Up to so many prompts are counted again for the share of the set that a batch draws.
COUNTED = 20_000


def other_draws(
    prompts: PromptSet, drawn: Sequence[Prompt], seed: int, *, exclude: frozenset[str] = frozenset(), replace: bool
) -> float:
    """Number of places of a batch that hold another prompt, or other columns, than the seed's permutation puts there.

    Args:
        prompts: the whole set.
        drawn: the batch's prompts, in order.
        seed: seed of the draw.
        exclude: content keys that must not be drawn.
        replace: whether the draw is with replacement.
    """
    rng = generator(seed, "prompts")
    order = rng.integers(0, len(prompts), size=len(drawn)) if replace else rng.permutation(len(prompts))
    expected: list[Prompt] = []
    seen = set(exclude)
    for index in order:
        if len(expected) == len(drawn):
            break
        prompt = _plain(prompts, int(index))
        if replace or prompt.key not in seen:
            seen.add(prompt.key)
            expected.append(prompt)
    different = sum(
        one.key != other.key or repr(dict(one.columns)) != repr(dict(other.columns))
        for one, other in zip(drawn, expected, strict=False)
    )
    return float(different + abs(len(drawn) - len(expected)))


def other_companions(
    prompts: PromptSet, drawn: Sequence[Prompt], seed: int, *, exclude: frozenset[str] = frozenset()
) -> float:
    """Number of places that hold another companion than the seed puts there: independent draws, some passed over.

    Args:
        prompts: the whole set.
        drawn: the companions, in order.
        seed: seed of the draw.
        exclude: content keys that must not be drawn.
    """
    rng = generator(seed, "companions")
    different = 0
    for prompt in drawn:
        expected = _plain(prompts, int(rng.integers(0, len(prompts))))
        while expected.key in exclude:
            expected = _plain(prompts, int(rng.integers(0, len(prompts))))
        different += prompt.key != expected.key
    return float(different)


def _plain(prompts: PromptSet, index: int) -> Prompt:
    """The prompt of an index, by the set's second way to make it where it has one."""
    second: Callable[[int], Prompt] = getattr(prompts, "plain_row", prompts.__getitem__)
    return second(index)


def other_fraction(
    prompts: PromptSet, fraction: float, count: int, *, exclude: frozenset[str] = frozenset(), replace: bool
) -> float:
    """Difference of a sampling fraction from ``count`` over the number of distinct prompts.

    Of a large set only that it is no less than ``count`` over the number of all prompts.

    Args:
        prompts: the whole set.
        fraction: the recorded one.
        count: number of prompts that are drawn.
        exclude: content keys that are not drawn.
        replace: whether the draw is with replacement.
    """
    if replace:
        return abs(fraction)
    if len(prompts) > COUNTED:
        return max(0.0, count / len(prompts) - fraction)
    distinct = {prompts[index].key for index in range(len(prompts))} - exclude
    return abs(fraction - min(1.0, count / max(1, len(distinct))))
