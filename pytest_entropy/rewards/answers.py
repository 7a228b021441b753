"""Compare the answer found in a completion with the expected one, for the built-in rewards."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pytest_entropy.rewards.answer_notations import blocks
from pytest_entropy.rewards.gold import accepted_answers


def score(
    completions: Sequence[Any],
    answer: Sequence[Any],
    find: Callable[[str], str | None],
    normal: Callable[[str], str | None] = str,
) -> list[float | None]:
    """1.0 where a completion's answer equals a form of an accepted answer, else 0.0; None where no answer is known.

    Args:
        completions: texts or chat messages.
        answer: the expected answer of each, in any notation of :func:`.gold.accepted_answers`.
        find: extracts the answer from a completion's text; None where it holds none.
        normal: normalises an accepted answer before it is compared.

    Raises:
        NoGold: an expected answer cannot be read.
    """
    return [
        None
        if expected is None
        else float(_is_any(find(completion_text(completion)), accepted_answers(expected), normal))
        for completion, expected in zip(completions, answer, strict=True)
    ]


def _is_any(given: str | None, accepted: Sequence[Sequence[str]], normal: Callable[[str], str | None]) -> bool:
    return any(_same(given, normal(form)) for forms in accepted for form in forms)


def completion_text(completion: Any) -> str:
    """A completion as text: itself, or the content of the last of its chat messages."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])


def one_block(text: str) -> str | None:
    """The content of the text's ``<answer>`` block, None unless it holds exactly one."""
    return found[0].strip() if len(found := blocks(text)) == 1 else None


def without_spaces(text: str | None) -> str | None:
    """The text without white space."""
    return None if text is None else "".join(text.split())


def _same(given: str | None, expected: str | None) -> bool:
    """Whether two answers are the same text or the same number."""
    if given is None or expected is None:
        return False
    if given == expected:
        return True
    numbers = _number(given), _number(expected)
    return numbers[0] is not None and numbers[0] == numbers[1]


def _number(text: str) -> float | None:
    """A text as a number, without thousands separators, currency sign and final full stop; None if it is not one."""
    plain = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", text.strip().strip("$€£").removesuffix("."))
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)", plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None
