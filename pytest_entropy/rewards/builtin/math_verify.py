"""1.0 where math-verify finds a completion's answer equal to the expected one."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from pytest_entropy.rewards.answer_notations import last_frame
from pytest_entropy.rewards.answers import completion_text, is_any, one_block, read_number
from pytest_entropy.rewards.builtin.base import NamedReward
from pytest_entropy.rewards.gold import accepted_answers, all_forms
from pytest_entropy.rewards.latex_forms import as_latex
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

log = logging.getLogger(__name__)

# Seconds for one comparison, math-verify's own default.
_COMPARISON = 5.0
# Numbers below the first are compared to within the second of the larger one.
_SMALL, _RELATIVE = 1e-3, 1e-3
# Numbers joined by hyphens are a date, a score or a range, and no difference that is left to be computed.
_HYPHENATED = re.compile(r"\d+(?:\s*[-\u2013\u2014]\s*\d+)+")


def math_verify(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where math-verify finds the completion's answer equal to the expected one, else 0.0.

    The answer is taken from the ``<answer>`` block if there is exactly one, else from the whole completion; in a block
    or box, the same text or number is equal without math-verify.  None where the expected answer is not known, or is
    neither mathematics nor a date or range, which are compared as text.  As in math-verify itself, a comparison that
    does not end within 5 s counts as not equal; the log names it.

    Raises:
        NoGold: an expected answer cannot be read.
    """
    # math-verify's own time-outs take SIGALRM and fail outside the main thread, so they are off; it warns of that.
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return [_verified(completion_text(c), a) for c, a in zip(completions, answer, strict=True)]


def _verified(completion: str, answer: Any) -> float | None:
    from math_verify import parse, verify

    if answer is None:
        return None
    # Of a worked solution only its answer: math-verify would take other numbers in it for the answer, too.
    accepted = accepted_answers(answer)
    golds = [gold for forms in accepted if (gold := _mathematics(forms))]
    if not golds and not any(_is_text(forms) for forms in accepted):
        return None
    given = one_block(completion)
    # What is written alike is equal, whatever math-verify makes of it (10{,}000, 1e-3).
    if any(is_any(form, accepted) for form in ([last_frame(completion)] if given is None else all_forms(given))):
        return 1.0

    def compare() -> bool:
        parsed = _mathematics((given,)) if given else parse(as_latex(completion), parsing_timeout=None)
        return any(
            verify(gold, parsed, timeout_seconds=None) and not (parsed and _apart(gold[0], parsed[0])) for gold in golds
        )

    try:
        return float(call_within(_COMPARISON, compare))
    except TimeLimitExceeded:
        log.warning("math_verify: no end within %g s, not equal: %r to %r", _COMPARISON, answer, completion[-200:])
        return 0.0


def _is_text(forms: Sequence[str]) -> bool:
    """Whether an answer that is no mathematics is compared as text: a number, words in LaTeX, a date or a range."""
    return bool(read_number(forms[-1]) or "\\text" in forms[0] or _HYPHENATED.fullmatch(forms[-1]))


def _mathematics(forms: Sequence[str]) -> list[Any]:
    """The innermost form as math-verify parses it, empty where it finds no mathematics.

    math-verify looks for LaTeX in dollars or in a box: LaTeX, an interval, a set or a letter without one gets a box.
    """
    from math_verify import parse

    # Dollars stay: math-verify reads an interval in them as one.
    delimited = len(forms) > 1 and forms[-2].startswith(("$", "\\(", "\\["))
    if _HYPHENATED.fullmatch(forms[-1]):
        return []
    text = as_latex(forms[-2] if delimited else forms[-1])
    # In a box, words would be read as products of their letters; those of a formula are such products.
    word = r"[A-Za-z]{3}" if re.search(r"[=+*/^_]", text) else r"[A-Za-z]{2}"
    words = re.search(word, re.sub(r"\\(?:begin|end)\{\w*\}|\\[A-Za-z]+", "", text))
    marked = any(mark in text for mark in ("$", "\\boxed", "\\(", "\\["))
    # A number with its unit is one; any of the numbers in other words would be taken for the answer.
    if words and not marked and not re.fullmatch(r"[-+−]?\d[\d.,{}!\\]*\D*", text):
        return []
    alone = not words and not marked
    readings = [parse(one, parsing_timeout=None) for one in ([f"\\boxed{{{text}}}", text] if alone else [text])]
    # Of what it cannot read math-verify gives the text alone.
    read = [one for one in readings if not all(isinstance(part, str) for part in one)]
    return next(iter([*read, *filter(None, readings)]), [])


def _apart(one: Any, other: Any) -> bool:
    """Whether two small numbers differ by more than rounding: math-verify compares six decimal places."""
    try:
        a, b = (complex(part.evalf()) for part in (one, other))
    except (AttributeError, TypeError, ValueError):
        return False
    return max(abs(a), abs(b)) < _SMALL and abs(a - b) > _RELATIVE * max(abs(a), abs(b))


REWARD = NamedReward(math_verify, reads_answer=True, repeatable=True, right_completion=r"\boxed{{{}}}".format)
