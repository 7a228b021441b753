"""The built-in rewards: 1.0 where a completion gives the expected answer, in one of four notations."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pytest_entropy.time_limit import TimeLimitExceeded, call_within

log = logging.getLogger(__name__)

_OPEN, _CLOSE = "<answer>", "</answer>"
_BRACES = re.compile(r"\\boxed\s*\{|[{}]")
# Seconds for one comparison, math-verify's own default.
_COMPARISON = 5.0


def exact_answer(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where the completion holds exactly one ``<answer>`` block and its text is the expected answer.

    Surrounding white space is ignored; no block or more than one scores 0.0.  An expected number is compared
    as a number, and one in GSM8K's form is what follows ``####``.  None where no answer is known.
    """
    return _score(completions, answer, _one_block)


def gsm8k(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where what follows the completion's last ``####`` is the expected number.

    Thousands separators, a currency sign and a full stop at the end do not count.  None where no answer is known.
    """
    return _score(completions, answer, _after_hashes)


def boxed(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    r"""1.0 where the completion's last ``\boxed{…}`` holds the expected answer, white space aside.

    Text against text: ``\frac12`` is not ``0.5`` here (see :func:`math_verify`).  None where no answer is known.
    """
    return _score(completions, answer, lambda text: _compact(_last_box(text)), _compact)


def math_verify(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where math-verify finds the completion's answer equal to the expected one.

    The answer is looked for in the one ``<answer>`` block if there is one, else in the whole completion.  None
    where the expected answer is not known or not mathematics.  As in math-verify itself, a comparison that
    does not end within 5 s counts as not equal; the log names it.
    """
    # Its own time-outs take SIGALRM from whoever else uses it and fail off the main thread, so they stay off.
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return [_verified(_text(c), a) for c, a in zip(completions, answer, strict=True)]


def _verified(completion: str, answer: Any) -> float | None:
    from math_verify import parse, verify

    if answer is None:
        return None
    gold = parse(_expected(answer), parsing_timeout=None)
    if not gold:
        return None
    given = _one_block(completion)

    def compare() -> bool:
        return bool(verify(gold, parse(given or completion, parsing_timeout=None), timeout_seconds=None))

    try:
        return float(call_within(_COMPARISON, compare))
    except TimeLimitExceeded:
        log.warning("math_verify: no end within %g s, not equal: %r to %r", _COMPARISON, answer, completion[-200:])
        return 0.0


def _score(
    completions: Sequence[Any],
    answer: Sequence[Any],
    find: Callable[[str], str | None],
    normal: Callable[[str], str | None] = str,
) -> list[float | None]:
    return [
        None if expected is None else float(_same(find(_text(completion)), normal(_expected(expected))))
        for completion, expected in zip(completions, answer, strict=True)
    ]


def _text(completion: Any) -> str:
    """A completion as text: itself, or the content of the last of its chat messages."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])


# What models write is searched in one pass, without backtracking: it may be long and repeat itself.


def _one_block(text: str) -> str | None:
    blocks = []
    start = text.find(_OPEN)
    while start >= 0 and (end := text.find(_CLOSE, start)) >= 0:
        blocks.append(text[start + len(_OPEN) : end])
        start = text.find(_OPEN, end)
    return blocks[0].strip() if len(blocks) == 1 else None


def _after_hashes(text: str) -> str | None:
    _, found, rest = text.rpartition("####")
    return rest.partition("\n")[0].strip() if found else None


def _last_box(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}`` whose braces close."""
    opened: list[tuple[bool, int]] = []
    last, found = -1, None
    for brace in _BRACES.finditer(text):
        if brace[0] != "}":
            opened.append((len(brace[0]) > 1, brace.end()))
        elif opened:
            is_box, start = opened.pop()
            if is_box and start > last:
                last, found = start, text[start : brace.start()].strip()
    return found


def _compact(text: str | None) -> str | None:
    return None if text is None else "".join(text.split())


def _expected(answer: Any) -> str:
    """The final answer of what a data set holds: after ``####``, in the box, or all of it."""
    text = str(answer).strip()
    return _after_hashes(text) or _last_box(text) or text


def _same(given: str | None, expected: str | None) -> bool:
    if given is None or expected is None:
        return False
    if given == expected:
        return True
    numbers = _number(given), _number(expected)
    return numbers[0] is not None and numbers[0] == numbers[1]


def _number(text: str) -> float | None:
    """The number a text is, whatever its thousands separators, currency sign and final full stop."""
    plain = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", text.strip().strip("$€£").removesuffix("."))
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)", plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None


BUILT_IN: dict[str, Callable[..., list[float | None]]] = {
    "exact_answer": exact_answer,
    "gsm8k": gsm8k,
    "boxed": boxed,
    "math_verify": math_verify,
}
