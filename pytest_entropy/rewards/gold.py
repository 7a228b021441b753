r"""Read expected answers in the forms of data sets: text in several notations, numbers, lists, structs.

Planning uses it to reject answers that cannot be read, and rewards to compare with them.
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

from pytest_entropy.rewards.answer_notations import after_hashes, last_block, last_frame
from pytest_entropy.rewards.batch import visible

# The fields of a struct that may hold the answer; the first that is not empty does.
FIELDS = (
    "ground_truth", "target", "targets", "answer", "answers", "final_answer", "gold", "solution", "reward_model",
)  # fmt: skip
# Enough for a struct in a list in a struct, such as verl's reward_model with {"target": [...]}.
_DEEPEST = 4
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


class NoGold(ValueError):
    """A value that cannot be read as an expected answer; the message shows the value and says why."""


def accepted_answers(value: Any) -> list[tuple[str, ...]]:
    r"""All accepted answers, each with its forms: the whole text, and the part in ``<answer>``, ``####``, ``\boxed``.

    Args:
        value: text; a number; a list, tuple, set or array of accepted answers; a struct with one of :data:`FIELDS`;
            the JSON text of a struct, of a list of texts or of a list of one value.

    Raises:
        NoGold: the value is none of these, or holds no answer.

    >>> accepted_answers({"target": ["so it is <answer>D</answer>", 4]})
    [('so it is <answer>D</answer>', 'D'), ('4',)]
    """
    answers = list(_answers(value, _DEEPEST))
    if not answers:
        raise NoGold(f"{shown(value)} holds no answer")
    return answers


def shown(value: Any) -> str:
    """A value's content, shortened, with control characters as escapes."""
    brief = visible(_BRIEF.repr(value))
    plain = isinstance(value, str | bytes | int | float | list | tuple | dict | set) or value is None
    return brief if plain else f"{type(value).__name__} {brief}"


def _answers(value: Any, depth: int) -> Iterator[tuple[str, ...]]:
    """The forms of each accepted answer; nulls and empty texts in lists, which table formats add, are skipped."""
    value = _builtin(value)
    if isinstance(value, str):
        yield from _of_text(value, depth)
    elif isinstance(value, bool):
        yield str(value), str(value).lower()
    elif isinstance(value, int | float | Decimal | Fraction):
        if isinstance(value, float | Decimal) and math.isnan(value):
            raise NoGold("nan is not an answer (a missing value?)")
        yield _digits(value)
    elif value is None:
        raise NoGold("None is not an answer")
    elif not isinstance(value, list | tuple | set | frozenset | Mapping):
        raise NoGold(f"{shown(value)} is neither text, a number, a list of these nor a struct")
    elif depth <= 0:
        raise NoGold(f"{shown(value)} is nested too deeply")
    elif isinstance(value, Mapping):
        yield from _answers(_field(value), depth - 1)
    else:
        for item in value:
            if not _blank(item):
                yield from _answers(item, depth - 1)


def _of_text(value: str, depth: int) -> Iterator[tuple[str, ...]]:
    """The forms of each accepted answer in a text, which may be JSON."""
    text = value.strip()
    if not text:
        raise NoGold(f"{shown(value)} is empty")
    inner = _from_json(text)
    if inner is None:
        yield _forms(text)
    else:
        # The whole text is a form, too: it may have been meant as it is.
        yield from ((text, *forms) for forms in _answers(inner, depth - 1))


def _field(struct: Mapping[Any, Any]) -> Any:
    """The value of the first of :data:`FIELDS` that is not empty."""
    for name in FIELDS:
        if not _blank(struct.get(name)):
            return struct[name]
    raise NoGold(f"{shown(dict(struct))} has none of the fields {', '.join(FIELDS)}")


def _blank(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | tuple | dict) and not value)


def _digits(value: Any) -> tuple[str, ...]:
    """The forms of a number: as printed and, if that has an exponent, without one."""
    text = str(value)
    return (text, f"{Decimal(text):f}") if "e" in text.lower() else (text,)


def _builtin(value: Any) -> Any:
    """Arrays of numpy and torch as lists, and their scalars as Python numbers; other values unchanged."""
    if not hasattr(value, "dtype") or not hasattr(value, "item"):
        return value
    if value.shape != ():
        return list(value)
    # Through the shortest decimal in its own precision: 0.1, not the float64 value of float32's 0.1.
    number = f"{value!s}"
    return float(number) if re.fullmatch(r"-?\d+\.\d*(e[+-]?\d+)?", number) else value.item()


def _from_json(text: str) -> Any:
    """The answers in a JSON text, else None; a list of several numbers, which may be a vector, is not read."""
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
    """The text, then its content inside each notation in turn; a notation without content is not taken off."""
    forms = [text]
    for inner in (last_block, after_hashes, last_frame):
        content = inner(forms[-1])
        if content:
            forms.append(content)
    return tuple(forms)
