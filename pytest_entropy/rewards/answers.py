"""The built-in rewards: 1.0 where a completion gives the expected answer, in one of four notations."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pytest_entropy.rewards.gold import accepted_answers, after_hashes, blocks, last_box
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

log = logging.getLogger(__name__)

# Seconds for one comparison, math-verify's own default.
_COMPARISON = 5.0


def exact_answer(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where the completion holds exactly one ``<answer>`` block and its text is the expected answer.

    Surrounding white space is ignored; no block or more than one scores 0.0.  An expected number is compared
    as a number, and notations around it are taken off (:func:`.gold.accepted_answers`).  None where no answer is known.
    """
    return _score(completions, answer, _one_block)


def gsm8k(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1.0 where what follows the completion's last ``####`` is the expected number.

    Thousands separators, a currency sign and a full stop at the end do not count.  None where no answer is known.
    """
    return _score(completions, answer, after_hashes)


def boxed(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    r"""1.0 where the completion's last ``\boxed{…}`` holds the expected answer, white space aside.

    Text against text: ``\frac12`` is not ``0.5`` here (see :func:`math_verify`).  None where no answer is known.
    """
    return _score(completions, answer, lambda text: _compact(last_box(text)), _compact)


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
    # Of a worked solution only the answer in it: what else it says would be taken for the answer, too.
    golds = [gold for forms in accepted_answers(answer) if (gold := _mathematics(forms))]
    if not golds:
        return None
    given = _one_block(completion)

    def compare() -> bool:
        found = _mathematics((given,)) if given else parse(completion, parsing_timeout=None)
        return any(verify(gold, found, timeout_seconds=None) for gold in golds)

    try:
        return float(call_within(_COMPARISON, compare))
    except TimeLimitExceeded:
        log.warning("math_verify: no end within %g s, not equal: %r to %r", _COMPARISON, answer, completion[-200:])
        return 0.0


def _mathematics(forms: Sequence[str]) -> list[Any]:
    """What math-verify makes of the last form.

    It looks for LaTeX in dollars or in a box; where that, an interval, a set or a letter stands alone, it is given one.
    """
    from math_verify import parse

    text = forms[-1]
    # Words in a box would be products of their letters.
    words = re.search(r"[A-Za-z]{2}", re.sub(r"\\[A-Za-z]+", "", text))
    alone = not words and not any(mark in text for mark in ("$", "\\boxed", "\\(", "\\["))
    tries = [text, f"\\boxed{{{text}}}"] if alone else [text]
    if text[:1] in ("\\", "(", "[", "{"):
        tries.reverse()
    return next((found for one in tries if (found := parse(one, parsing_timeout=None))), [])


def _score(
    completions: Sequence[Any],
    answer: Sequence[Any],
    find: Callable[[str], str | None],
    normal: Callable[[str], str | None] = str,
) -> list[float | None]:
    """Any accepted answer will do, in any of its forms.

    Raises:
        NoGold: an expected answer that is there and cannot be read.
    """
    return [
        None if expected is None else float(_is_any(find(_text(completion)), accepted_answers(expected), normal))
        for completion, expected in zip(completions, answer, strict=True)
    ]


def _is_any(given: str | None, accepted: Sequence[Sequence[str]], normal: Callable[[str], str | None]) -> bool:
    return any(_same(given, normal(form)) for forms in accepted for form in forms)


def _text(completion: Any) -> str:
    """A completion as text: itself, or the content of the last of its chat messages."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])


def _one_block(text: str) -> str | None:
    return found[0].strip() if len(found := blocks(text)) == 1 else None


def _compact(text: str | None) -> str | None:
    return None if text is None else "".join(text.split())


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
