"""Sample an update batch whose rewards are equal within every group, to show people what was rewarded."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.prompts import Prompt, text_of
from pytest_entropy.records.update import Sample, equal_rewards
from pytest_entropy.rewards.batch import visible

# Prompts shown, and characters of each part: few, because every run stores the sample.
SHOWN = 2
_LONGEST = 300


def sample_of_equal(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[str]], rewards: Sequence[Sequence[float]]
) -> list[Sample]:
    """Up to two prompts with completion, answer and reward if rewards are equal in every group, else an empty list.

    Texts are shortened and their control characters escaped; the second prompt has another reward if there is one.

    Args:
        prompts: P prompts.
        completions: texts ``[P][G]``.
        rewards: of the completions, ``[P][G]``.
    """
    if equal_rewards(rewards) is None:
        return []
    other = next((n for n, group in enumerate(rewards) if group[0] != rewards[0][0]), 1)
    return [
        Sample(
            prompt=visible(prompt_text(prompts[n]), _LONGEST),
            completion=visible(completions[n][0], _LONGEST),
            answer=_answer(prompts[n]),
            reward=float(rewards[n][0]),
        )
        for n in [0, other][:SHOWN]
        if n < len(prompts)
    ]


def prompt_text(prompt: Prompt) -> str:
    """The prompt as text; of chat messages a line each, with its role."""
    if isinstance(prompt.content, str):
        return prompt.content
    return "\n".join(f"{message['role']}: {text_of(message)}" for message in prompt.content)


def _answer(prompt: Prompt) -> str:
    """The prompt's answer, or all its columns where it has none: a reward may read any of them."""
    value = prompt.columns.get("answer")
    if value is None:
        return visible(", ".join(f"{name}={column!r}" for name, column in sorted(prompt.columns.items())), _LONGEST)
    return visible(value if isinstance(value, str) else repr(value), _LONGEST)
