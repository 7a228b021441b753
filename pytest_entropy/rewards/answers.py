"""Compare the answer found in a completion with the expected one, for the built-in rewards."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from unicodedata import normalize

from pytest_entropy.rewards.answer_notations import blocks
from pytest_entropy.rewards.gold import accepted_answers


def score(
    completions: Sequence[Any],
    answer: Sequence[Any],
    find: Callable[[str], str | None],
    normal: Callable[[str], str] = str,
) -> list[float | None]:
    """1.0 where a completion's answer equals a form of an accepted answer, else 0.0; None where no answer is known.

    Args:
        completions: texts or chat messages.
        answer: the expected answer of each, in any notation of :func:`.gold.accepted_answers`.
        find: extracts the answer from a completion's text; None where it holds none.
        normal: normalises the texts that are compared.

    Raises:
        NoGold: an expected answer cannot be read.
    """
    return [
        None
        if expected is None
        else float(is_any(find(completion_text(completion)), accepted_answers(expected), normal))
        for completion, expected in zip(completions, answer, strict=True)
    ]


def is_any(given: str | None, accepted: Sequence[Sequence[str]], normal: Callable[[str], str] = str) -> bool:
    """Whether an answer equals a form of an accepted answer.

    Args:
        given: the answer; None equals nothing.
        accepted: the accepted answers, each with its forms.
        normal: normalises the texts that are compared; numbers are read as they are.
    """
    return given is not None and any(_same(given, form, normal) for forms in accepted for form in forms)


def completion_text(completion: Any) -> str:
    """A completion as text: itself, or the content of the last of its chat messages."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])


def one_block(text: str) -> str | None:
    """The content of the text's ``<answer>`` block, None unless it holds exactly one."""
    return found[0].strip() if len(found := blocks(text)) == 1 else None


def without_spaces(text: str) -> str:
    """The text without white space, but for a space between digits: ``1 1/2`` is not ``11/2``."""
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(text.split()))


# Signs for minus besides the hyphen, and spaces between thousands.
_MINUS = re.compile("[\u2212\u2013\ufe63\uff0d]")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|,|\\,|\\!|[ \u00a0\u2009\u202f])(?=\d{3}(?:\D|$))")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?:\\?[$€£¥₹])*\s*(?P<inner>[+-]?)(?P<digits>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?)"
    r"\s*(?P<percent>(?:\\?%)?)(?:\s?\\?[$€£¥₹])*\.?"
)
_LONGEST_NUMBER = 400
_NO_WIDTH = re.compile("[\u200b\u200c\u200d\u2060\ufeff]")


def _same(given: str, expected: str, normal: Callable[[str], str]) -> bool:
    """Whether two answers are the same text or the same number."""
    given, expected = _composed(given), _composed(expected)
    if normal(given) == normal(expected):
        return True
    number = read_number(given)
    return number is not None and number == read_number(expected)


def _composed(text: str) -> str:
    """The text as it looks: accents as one character with their letter, and nothing of no width."""
    return text if text.isascii() else _NO_WIDTH.sub("", normalize("NFC", text)).strip()


def read_number(text: str) -> tuple[Decimal, bool] | None:
    """A text as a number, and whether it is in percent; None if it is not one.

    Thousands separators, a currency sign and a final full stop are ignored.

    >>> read_number(r"\\$1,234.50"), read_number("12 %"), read_number("3,5")
    ((Decimal('1234.50'), False), (Decimal('12'), True), None)
    """
    text = text.strip()
    if len(text) > _LONGEST_NUMBER:
        return None
    match = _NUMBER.fullmatch(_THOUSANDS.sub("", _MINUS.sub("-", text)))
    if match is None or (match["sign"] and match["inner"]):
        return None
    return Decimal(match["sign"] + match["inner"] + match["digits"]), bool(match["percent"])
