"""1.0 where a completion ends with the expected number after ``####``, as GSM8K's solutions do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.rewards.answer_notations import after_hashes
from pytest_entropy.rewards.answers import score
from pytest_entropy.rewards.builtin.base import NamedReward


def gsm8k(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where the text after the completion's last ``####`` is the expected number, else 0.0.

    Thousands separators, a currency sign and a final full stop are ignored.  None where no answer is known.

    Raises:
        NoGold: an expected answer cannot be read.
    """
    return score(completions, answer, after_hashes)


REWARD = NamedReward(gsm8k, reads_answer=True, repeatable=True, right_completion="#### {}".format)
