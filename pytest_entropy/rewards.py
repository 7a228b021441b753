"""Reward functions, in TRL's signature: ``f(prompts, completions, **columns) -> list[float | None]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_ANSWER_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def exact_answer(
    prompts: Sequence[Any], completions: Sequence[str], answer: Sequence[Any], **columns: Any
) -> list[float]:
    """1.0 where the completion holds exactly one ``<answer>`` block and its text is the expected answer.

    Surrounding white space is ignored; no block or more than one scores 0.0.
    """
    rewards = []
    for completion, expected in zip(completions, answer, strict=True):
        blocks = _ANSWER_BLOCK.findall(completion)
        rewards.append(float(len(blocks) == 1 and blocks[0].strip() == str(expected).strip()))
    return rewards
