r"""The expected answer as data sets hold it: text in several notations, numbers, lists of accepted answers, structs.

A gold is read here and nowhere else: while planning, to refuse what is none, and by the rewards themselves.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pytest_entropy.rewards.batch import visible

# The fields of a struct that may hold the answer; the first that is there and not empty does.
FIELDS = (
    "ground_truth", "target", "targets", "answer", "answers", "final_answer", "gold", "solution", "reward_model",
)  # fmt: skip
# A struct in a list in a struct: verl's reward_model with {"target": [...]} in it.
_DEEPEST = 4
_OPEN, _CLOSE = "<answer>", "</answer>"
_BRACES = re.compile(r"\\boxed\s*\{|[{}]")
_FRAMES = re.compile(r"\\(?:boxed|fbox)\s*\{|[{}]")
_UNBRACED = re.compile(r"\\(?:boxed|fbox)\s+([^\s{}$\\]+)")
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


class NoGold(ValueError):
    """A value that cannot be read as an expected answer; says what it is and why."""


def accepted_answers(value: Any) -> list[tuple[str, ...]]:
    r"""Every accepted answer, each in its forms: as it stands, and what is inside ``<answer>``, ``####``, ``\boxed``.

    Args:
        value: text; a number; a list, tuple, set or array of accepted answers; a struct with one of :data:`FIELDS`;
            the JSON text of a struct, of a list of texts or of a list of one.

    Raises:
        NoGold: none of these, or empty.

    >>> accepted_answers({"target": ["so it is <answer>D</answer>", 4]})
    [('so it is <answer>D</answer>', 'D'), ('4',)]
    """
    found = list(_answers(value, _DEEPEST))
    if not found:
        raise NoGold(f"{shown(value)} holds no answer")
    return found


def shown(value: Any) -> str:
    """A value's content, shortened, with control characters as escapes."""
    brief = visible(_BRIEF.repr(value))
    plain = isinstance(value, str | bytes | int | float | list | tuple | dict | set) or value is None
    return brief if plain else f"{type(value).__name__} {brief}"


def _answers(value: Any, depth: int) -> Iterator[tuple[str, ...]]:
    """Every accepted answer's forms; nulls and empty texts in lists, which table formats add, are none."""
    value = _builtin(value)
    if isinstance(value, str):
        yield from _of_text(value, depth)
    elif isinstance(value, bool):
        yield str(value), str(value).lower()
    elif isinstance(value, int | float | Decimal | Fraction):
        if isinstance(value, float | Decimal) and math.isnan(value):
            raise NoGold("nan is no answer (a missing value?)")
        yield _digits(value)
    elif value is None:
        raise NoGold("None is no answer")
    elif not isinstance(value, list | tuple | set | frozenset | Mapping):
        raise NoGold(f"{shown(value)} is neither text, a number, a list of these nor a struct")
    elif depth <= 0:
        raise NoGold(f"{shown(value)} lies too deep")
    elif isinstance(value, Mapping):
        yield from _answers(_field(value), depth - 1)
    else:
        for item in value:
            if not _blank(item):
                yield from _answers(item, depth - 1)


def _of_text(value: str, depth: int) -> Iterator[tuple[str, ...]]:
    text = value.strip()
    if not text:
        raise NoGold(f"{shown(value)} is empty")
    inner = _from_json(text)
    if inner is None:
        yield _forms(text)
    else:
        # As it stands, too: a list of texts may have been meant.
        yield from ((text, *forms) for forms in _answers(inner, depth - 1))


def _field(struct: Mapping[Any, Any]) -> Any:
    for name in FIELDS:
        if not _blank(struct.get(name)):
            return struct[name]
    raise NoGold(f"{shown(dict(struct))} has none of the fields {', '.join(FIELDS)}")


def _blank(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | tuple | dict) and not value)


def _digits(value: Any) -> tuple[str, ...]:
    """A number as it is printed, and without an exponent."""
    text = str(value)
    return (text, f"{Decimal(text):f}") if "e" in text.lower() else (text,)


def _builtin(value: Any) -> Any:
    """Arrays of numpy and torch as lists, their scalars as Python's own."""
    if not hasattr(value, "dtype") or not hasattr(value, "item"):
        return value
    if value.shape != ():
        return list(value)
    # The shortest number in its own precision: 0.1, and not what float32's 0.1 is in float64.
    number = f"{value!s}"
    return float(number) if re.fullmatch(r"-?\d+\.\d*(e[+-]?\d+)?", number) else value.item()


def _from_json(text: str) -> Any:
    """What a text is the JSON of, if it is of a gold: a list of numbers is as likely an interval or a vector."""
    if text[0] not in "[{" or text[-1] not in "]}":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        return value if any(not _blank(value.get(name)) for name in FIELDS) else None
    plain = len(value) == 1 and isinstance(value[0], str | int | float | dict)
    return value if value and (plain or all(isinstance(item, str) for item in value)) else None


def _forms(text: str) -> tuple[str, ...]:
    """The text, and what remains of it as one notation after another is taken off; what would leave nothing stays."""
    forms = [text]
    for inner in (last_block, after_hashes, last_frame):
        found = inner(forms[-1])
        if found:
            forms.append(found)
    return tuple(forms)


# What models and data sets write is searched in one pass, without backtracking: it may be long and repeat itself.


def blocks(text: str) -> list[str]:
    """The contents of all ``<answer>`` blocks."""
    found = []
    start = text.find(_OPEN)
    while start >= 0 and (end := text.find(_CLOSE, start)) >= 0:
        found.append(text[start + len(_OPEN) : end])
        start = text.find(_OPEN, end)
    return found


def last_block(text: str) -> str | None:
    """The content of the last ``<answer>`` block."""
    return found[-1].strip() if (found := blocks(text)) else None


def after_hashes(text: str) -> str | None:
    """What follows the last ``####`` on its line, where that begins the line or is followed by a number."""
    before, found, rest = text.rpartition("####")
    line = rest.partition("\n")[0].strip()
    starts = not before.rpartition("\n")[2].strip()
    return line if found and (starts or re.match(r"[-+$€£]*\s*[\d.]", line)) else None


def last_box(text: str, braces: re.Pattern[str] = _BRACES) -> str | None:
    r"""The content of the last ``\boxed{…}`` whose braces close."""
    opened: list[tuple[bool, int]] = []
    last, found = -1, None
    for brace in braces.finditer(text):
        if brace[0] != "}":
            opened.append((len(brace[0]) > 1, brace.end()))
        elif opened:
            is_box, start = opened.pop()
            if is_box and start > last:
                last, found = start, text[start : brace.start()].strip()
    return found


def last_frame(text: str) -> str | None:
    r"""The same for ``\fbox{…}`` as well, and for ``\boxed 7``, as some worked solutions have it."""
    found = last_box(text, _FRAMES)
    if found is None and (unbraced := _UNBRACED.findall(text)):
        found = unbraced[-1].rstrip(".,")
    return found
