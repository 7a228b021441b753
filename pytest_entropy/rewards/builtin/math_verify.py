"""1.0 where math-verify finds a completion's answer equal to the expected one."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from pytest_entropy.rewards.answers import completion_text, one_block
from pytest_entropy.rewards.builtin.base import NamedReward
from pytest_entropy.rewards.gold import accepted_answers
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

log = logging.getLogger(__name__)

# Seconds for one comparison, math-verify's own default.
_COMPARISON = 5.0


def math_verify(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where math-verify finds the completion's answer equal to the expected one, else 0.0.

    The answer is taken from the ``<answer>`` block if there is exactly one, else from the whole completion.  None
    where the expected answer is not known or not mathematics.  As in math-verify itself, a comparison that
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
    golds = [gold for forms in accepted_answers(answer) if (gold := _mathematics(forms))]
    if not golds:
        return None
    given = one_block(completion)

    def compare() -> bool:
        parsed = _mathematics((given,)) if given else parse(completion, parsing_timeout=None)
        return any(verify(gold, parsed, timeout_seconds=None) for gold in golds)

    try:
        return float(call_within(_COMPARISON, compare))
    except TimeLimitExceeded:
        log.warning("math_verify: no end within %g s, not equal: %r to %r", _COMPARISON, answer, completion[-200:])
        return 0.0


def _mathematics(forms: Sequence[str]) -> list[Any]:
    """The last form as math-verify parses it, empty where it finds no mathematics.

    math-verify looks for LaTeX in dollars or in a box: LaTeX, an interval, a set or a letter without one gets a box.
    """
    from math_verify import parse

    text = forms[-1]
    # In a box, words would be read as products of their letters.
    words = re.search(r"[A-Za-z]{2}", re.sub(r"\\[A-Za-z]+", "", text))
    alone = not words and not any(mark in text for mark in ("$", "\\boxed", "\\(", "\\["))
    tries = [text, f"\\boxed{{{text}}}"] if alone else [text]
    if text[:1] in ("\\", "(", "[", "{"):
        tries.reverse()
    return next((parsed for one in tries if (parsed := parse(one, parsing_timeout=None))), [])


REWARD = NamedReward(math_verify, reads_answer=True, repeatable=True)
