"""An update batch whose rewards are equal within every group: said in words, and shown by a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards.batch import visible

# Prompts shown, and characters of each part: the record travels with every run.
SHOWN = 2
_LONGEST = 300


def equal_rewards(rewards: Sequence[Sequence[float]]) -> str | None:
    """What is equal in rewards ``[P][G]``, if those of every prompt are; None if any prompt's differ.

    >>> equal_rewards([[0.0, 0.0], [0.0, 0.0]])
    'every group of the update batch has equal rewards: all 4 are 0'
    >>> equal_rewards([[1.0, 1.0], [0.0, 0.0]])
    "every group of the update batch has equal rewards: each prompt's 2, which differ between prompts only (0 to 1)"
    """
    if any(min(group) != max(group) for group in rewards):
        return None
    low, high = min(group[0] for group in rewards), max(group[0] for group in rewards)
    if low == high:
        what = f"all {sum(map(len, rewards))} are {low:.3g}"
    else:
        what = f"each prompt's {len(rewards[0])}, which differ between prompts only ({low:.3g} to {high:.3g})"
    return f"every group of the update batch has equal rewards: {what}"


def sample_of_equal(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[str]], rewards: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
    """Up to two prompts, each with a completion, the answer and the reward, where rewards are equal in every group.

    Plain builtins, shortened, control characters as escapes; the second prompt has another reward if there is one.
    """
    if equal_rewards(rewards) is None:
        return []
    other = next((n for n, group in enumerate(rewards) if group[0] != rewards[0][0]), 1)
    return [
        {
            "prompt": visible(_text(prompts[n]), _LONGEST),
            "completion": visible(completions[n][0], _LONGEST),
            "answer": _answer(prompts[n]),
            "reward": float(rewards[n][0]),
        }
        for n in [0, other][:SHOWN]
        if n < len(prompts)
    ]


def _text(prompt: Prompt) -> str:
    if isinstance(prompt.content, str):
        return prompt.content
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt.content)


def _answer(prompt: Prompt) -> str:
    """The answer a reward is given, or else all columns: one of them may be what it reads."""
    value = prompt.columns.get("answer")
    if value is None:
        return visible(", ".join(f"{name}={column!r}" for name, column in sorted(prompt.columns.items())), _LONGEST)
    return visible(value if isinstance(value, str) else repr(value), _LONGEST)
