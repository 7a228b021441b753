r"""Read expected answers in the forms of data sets: text in several notations, numbers, lists, structs.

Planning uses it to reject answers that cannot be read, and rewards to compare with them.
"""

from __future__ import annotations

import ast
import json
import math
import re
import reprlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pytest_entropy.prompts.messages import text_of
from pytest_entropy.rewards.answer_notations import unwrapped
from pytest_entropy.rewards.batch import visible

# The fields of a struct that may hold the answer; the first that is not empty does.
FIELDS = (
    "ground_truth", "target", "targets", "answer", "answers", "final_answer", "gold", "solution", "reward_model",
)  # fmt: skip
# Fields of what a task is checked by, and not its answer: Countdown's numbers, a program's tests, IFEval's functions.
TASK_FIELDS = (
    "numbers", "nums", "inputs", "outputs", "input_output", "test_cases", "test_list", "tests", "unit_tests", "fn_name",
    "func_name", "instruction_id_list",
)  # fmt: skip
# Enough for a struct in a list in a struct, such as verl's reward_model with {"target": [...]}.
_DEEPEST = 4
# Notations in one another, such as the line "Answer: $\\boxed{7}$."
_NESTED = 8
# Characters of a text that is read as Python's.
_LONGEST_LITERAL = 100_000
# Words of a text above which it is a solution and not an answer, unless a notation in it marks the answer.
MOST_WORDS = 40
# The same where it has several sentences or lines.
MOST_WORDS_OF_SENTENCES = 15
_WORDS = re.compile(r"(?<![\\\w])[^\W\d_]{2,}")
_SENTENCES = re.compile(r"[.!?。]\s+[A-Z\u0400-\uffff]|\w[.!?]?\n\s*\w")
_CODE = re.compile(r"^(?:assert |def \w+\(|class \w+[(:]|from \w+ import |import \w+$|#include)", re.M)
_EMPTY = re.compile(r"\$*\s*\\(?:boxed|fbox)\s*\{\s*\}\s*\$*\.?|<answer>\s*</answer>", re.I)
_FENCE = re.compile(r"\A```(?:json)?\s*([\[{].*[\]}])\s*```\Z", re.S)
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


class NoGold(ValueError):
    """A value that cannot be read as an expected answer; the message shows the value and says why."""


def accepted_answers(value: Any) -> list[tuple[str, ...]]:
    r"""All accepted answers, each with its forms: the whole text, and what its notations enclose, from outside inwards.

    Args:
        value: text; a number; a list, tuple, set or array of accepted answers; a struct with one of :data:`FIELDS`;
            chat messages, of which the assistant's last holds the answer; the JSON text of a struct, of a list of
            texts or of a list of one value, and the same as Python prints them.

    Raises:
        NoGold: the value is none of these, or holds no answer.

    >>> accepted_answers({"target": ["so it is <answer>D</answer>", 4]})
    [('so it is <answer>D</answer>', 'D'), ('4',)]
    """
    answers = list(_answers(value, _DEEPEST))
    if not answers:
        raise NoGold(f"{shown(value)} holds no answer")
    return answers


def all_forms(text: str) -> tuple[str, ...]:
    """The text, then its content inside each notation in turn; a notation without content is not taken off."""
    forms = [text]
    while len(forms) < _NESTED and (inner := unwrapped(forms[-1])):
        forms.append(inner)
    return tuple(forms)


def is_solution(forms: Sequence[str]) -> bool:
    """Whether an accepted answer is a text of many words, of sentences or of code, in which no notation marks it."""
    text = forms[0]
    if forms[-1] not in (text, text[:-1].rstrip()):
        return False
    words = len(_WORDS.findall(text))
    return (
        words > MOST_WORDS
        or (words > MOST_WORDS_OF_SENTENCES and bool(_SENTENCES.search(text)))
        or bool(_CODE.search(text))
    )


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
        yield (str(value), str(value).lower(), *(("yes", "Yes") if value else ("no", "No")))
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
    elif (message := _last_of_assistant(value)) is not None:
        yield from _answers(message, depth - 1)
    else:
        for item in value:
            if not _blank(item):
                yield from _answers(item, depth - 1)


def _of_text(value: str, depth: int) -> Iterator[tuple[str, ...]]:
    """The forms of each accepted answer in a text, which may be JSON."""
    text = value.strip()
    if not text:
        raise NoGold(f"{shown(value)} is empty")
    if _EMPTY.fullmatch(text):
        raise NoGold(f"{shown(value)} encloses nothing")
    inner = _written_out(text)
    if inner is None:
        yield all_forms(text)
    else:
        # The whole text is a form, too: it may have been meant as it is.
        yield from ((text, *forms) for forms in _answers(inner, depth - 1))


def _field(struct: Mapping[Any, Any]) -> Any:
    """The value of the first of :data:`FIELDS` that is not empty, or of a chat message its content."""
    task = [name for name in TASK_FIELDS if not _blank(struct.get(name))]
    if task[:1] in (["numbers"], ["nums"]) and "target" in struct:
        raise NoGold(f"{shown(dict(struct))} asks for an equation of {task[0]}: name a reward that evaluates it")
    for name in FIELDS:
        if not _blank(struct.get(name)):
            return struct[name]
    if isinstance(struct.get("role"), str) and not _blank(struct.get("content")):
        return _said(struct)
    if task:
        raise NoGold(
            f"{shown(dict(struct))} has {task[0]}, by which a reward of your own checks the task, and no answer"
        )
    raise NoGold(f"{shown(dict(struct))} has none of the fields {', '.join(FIELDS)}")


def _said(message: Mapping[Any, Any]) -> Any:
    """A message's content, text parts as one text."""
    content = message["content"]
    parts = content if isinstance(content, list | tuple) else ()
    texts = bool(parts) and all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts)
    return text_of({"content": parts}) if texts else content


def _last_of_assistant(value: Any) -> Any:
    """The assistant's last message among chat messages, the last where it has none; None for other values."""
    messages = list(value) if isinstance(value, list | tuple) else []
    if not messages or not all(isinstance(one, Mapping) and "role" in one and "content" in one for one in messages):
        return None
    return next((one for one in reversed(messages) if one["role"] == "assistant"), messages[-1])


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


def _written_out(text: str) -> Any:
    """The answers in a text that is JSON or a Python literal, else None.

    A list of several numbers, which may be a vector, is not read.
    """
    text = _FENCE.sub(r"\1", text)
    if (text[0], text[-1]) not in (("[", "]"), ("{", "}"), ('"', '"')):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _literal(text)
    if isinstance(value, dict):
        return value if any(not _blank(value.get(name)) for name in (*FIELDS, *TASK_FIELDS)) else None
    if not isinstance(value, list):
        return value if isinstance(value, str) and value.strip() else None
    plain = len(value) == 1 and isinstance(value[0], str | int | float | dict)
    alike = any(all(isinstance(item, kind) for item in value) for kind in (str, dict))
    return value if value and (plain or alike) else None


def _literal(text: str) -> Any:
    """A list or struct as Python prints it, None where the text is none.

    Raises:
        NoGold: the text is one of numpy's arrays, which Python would read as something else.
    """
    if not re.match(r"[\[{]\s*['\"]", text) or len(text) > _LONGEST_LITERAL:
        return None
    if re.search(r"\barray\(\[|['\"]\s+['\"]", text):
        raise NoGold(f"{shown(text)} is a numpy array printed as text: store the list itself")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes, which LaTeX is full of
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list | dict) else None
