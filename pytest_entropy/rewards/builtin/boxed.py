r"""1.0 where a completion's last ``\boxed{…}`` holds the expected answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.rewards.answer_notations import last_box
from pytest_entropy.rewards.answers import score, without_spaces
from pytest_entropy.rewards.builtin.base import NamedReward


def boxed(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    r"""1.0 where the completion's last ``\boxed{…}`` holds the expected answer, else 0.0.

    Numbers are compared by value and other answers as texts, in which white space counts between digits only:
    ``\frac12`` does not equal ``0.5`` (see :func:`math_verify`).  None where no answer is known.

    Raises:
        NoGold: an expected answer cannot be read.
    """
    return score(completions, answer, last_box, without_spaces)


REWARD = NamedReward(boxed, reads_answer=True, repeatable=True, right_completion=r"\boxed{{{}}}".format)
