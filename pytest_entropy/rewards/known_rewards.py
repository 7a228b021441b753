"""Rewards that planning may call: what a completion with an answer looks like in their notation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards.batch import visible
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.gold import NoGold, accepted_answers, is_solution
from pytest_entropy.rewards.named import named

_LONGEST = 120
_REASONING = "<think>\nWe count.\n</think>\n"


@dataclass(frozen=True)
class KnownReward:
    """A function that may be called: pure, fast, and with a known notation.

    Attributes:
        column: holds the answers; None for a reward without any.
        completion: makes the completion that gives an answer.
        highest: the reward of a right completion.
        exact: whether every right completion has to get the highest value; TRL's read answers more strictly.
    """

    column: str | None
    completion: Callable[[str], str]
    highest: float = 1.0
    exact: bool = True


_TRL = {
    "accuracy_reward": KnownReward("solution", r"\boxed{{{}}}".format, exact=False),
    "reasoning_accuracy_reward": KnownReward("solution", (_REASONING + r"\boxed{{{}}}").format, exact=False),
    "think_format_reward": KnownReward(None, (_REASONING + "{}").format),
}


def known_reward(reward: PlainReward) -> KnownReward | None:
    """What planning knows of a reward: of one registered with a ``right_completion``, and of TRL's; else None."""
    registered = named(reward)
    if registered is not None:
        column, form = "answer" if registered.reads_answer else None, registered.right_completion
        return None if form is None else KnownReward(column, form, registered.highest)
    module, name = str(getattr(reward, "__module__", "")), str(getattr(reward, "__name__", ""))
    return _TRL.get(name) if module.partition(".")[0] == "trl" else None


def answer_to_try(row: Prompt, column: str | None) -> str | None:
    """The innermost form of a row's first accepted answer; None where there is none to be tried.

    Args:
        row: the prompt.
        column: that of :class:`KnownReward`.
    """
    if column is None:
        return "7"
    try:
        forms = accepted_answers(row.columns.get(column))[0]
    except NoGold:
        return None
    return None if is_solution(forms) else forms[-1]


def cut(text: str) -> str:
    """A completion as messages show it."""
    return f"'{visible(text, _LONGEST)}'"
