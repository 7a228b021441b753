"""1.0 where a completion holds one ``<answer>`` block with the expected answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.rewards.answers import one_block, score
from pytest_entropy.rewards.builtin.base import NamedReward


def exact_answer(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where the completion holds exactly one ``<answer>`` block and its text is the expected answer.

    Surrounding white space is ignored; no block or more than one scores 0.0.  Numbers are compared by value, and the
    expected answer is read without its notation (:func:`~pytest_entropy.rewards.gold.accepted_answers`).  None where
    no answer is known.

    Raises:
        NoGold: an expected answer cannot be read.
    """
    return score(completions, answer, one_block)


REWARD = NamedReward(exact_answer, reads_answer=True, repeatable=True, right_completion="<answer>{}</answer>".format)
