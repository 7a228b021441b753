"""Sample an update batch to show people what was rewarded, and find rewards that are equal within every group."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.prompts import Prompt, text_of
from pytest_entropy.records.update import Sample, StillTerm, equal_rewards, equal_within_groups
from pytest_entropy.rewards.batch import visible
from pytest_entropy.rewards.evaluation import Evaluated

# Prompts shown, and characters of each part: few, because every run stores the sample.
SHOWN = 2
_LONGEST = 300
_Rewards = Sequence[Sequence[float | None]]


def sample_of_equal(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[str]], rewards: Sequence[Sequence[float]]
) -> list[Sample]:
    """Up to two prompts with completion, answer and reward if rewards are equal in every group, else an empty list.

    Args:
        prompts: P prompts.
        completions: texts ``[P][G]``.
        rewards: of the completions, ``[P][G]``.
    """
    return [] if equal_rewards(rewards) is None else sample_of(prompts, completions, rewards)


def sample_of(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]], rewards: _Rewards) -> list[Sample]:
    """Up to two prompts with completion, answer and reward; the second has another reward if there is one.

    Texts are shortened and their control characters escaped.

    Args:
        prompts: P prompts.
        completions: texts ``[P][G]``.
        rewards: of the completions, ``[P][G]``.
    """
    places = [(p, g) for p, group in enumerate(rewards) for g in range(len(group))]
    other = next(((p, g) for p, g in places if rewards[p][g] != rewards[0][0]), (1, 0))
    return [
        Sample(
            prompt=visible(prompt_text(prompts[p]), _LONGEST),
            completion=visible(completions[p][g], _LONGEST),
            answer=answer_text(prompts[p]),
            reward=rewards[p][g],
        )
        for p, g in [(0, 0), other][:SHOWN]
        if p < len(prompts)
    ]


def still_terms(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[str]], evaluated: Evaluated
) -> list[StillTerm]:
    """The terms of a weighted sum that are equal in every group; none of a single reward, whose sum says it.

    A term that another one of the sum hides would else be seen nowhere.

    Args:
        prompts: P prompts.
        completions: texts ``[P][G]``.
        evaluated: their rewards.
    """
    several = [(term, values) for term, values in evaluated.terms if term.weight]
    if len(several) < 2 or len(completions[0]) < 2:
        return []
    return [
        StillTerm(term.label, equal, sample_of(prompts, completions, values))
        for term, values in several
        if (equal := equal_within_groups(values)) is not None
    ]


def prompt_text(prompt: Prompt) -> str:
    """The prompt as text; of chat messages a line each, with its role."""
    if isinstance(prompt.content, str):
        return prompt.content
    return "\n".join(f"{message['role']}: {text_of(message)}" for message in prompt.content)


def answer_text(prompt: Prompt) -> str:
    """The prompt's answer, or all its columns where it has none: a reward may read any of them."""
    value = prompt.columns.get("answer")
    if value is None:
        return visible(", ".join(f"{name}={column!r}" for name, column in sorted(prompt.columns.items())), _LONGEST)
    return visible(value if isinstance(value, str) else repr(value), _LONGEST)
