r"""Find the answer in a text by its notation: ``<answer>``, ``####``, ``\boxed``, ``\fbox``, ``The answer is …``."""

from __future__ import annotations

import re
from typing import NamedTuple

# The texts of models and data sets may be long and repetitive: the searches below take one pass, without backtracking.
_OPEN, _CLOSE = "<answer>", "</answer>"
_BRACES = re.compile(r"\\boxed\s*\{|[{}]")
_FRAMES = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|[{}]")
_UNBRACED = re.compile(r"\\(?:boxed|fbox)(?:\s+|(?=\d))([^\s{}$\\]+)")
# "Answer: 7" on a line of its own, "Answer" and "7" on two, "**Final answer**: 7", "So the answer is 7." in the last
# line; other languages, too.
_WORD = r"(?:answer|réponse|respuesta|resposta|risposta|antwort|ответ|答案|答え)"
_IS = r"(?:is|est|es|é|è|lautet|ist|是|为|為|は)"
_LABEL = re.compile(
    r"^[ \t*_#>-]{0,12}(?:(?:the )?(?:final |correct )?"
    rf"{_WORD}(?: {_IS})?[*_ \t]{{0,8}}(?:[::=]|\n)|(?:ans\.?|result)[*_ \t]{{0,8}}[::=])[*_\s]{{0,8}}(\S[^\n]*)",
    re.I | re.M,
)
_SENTENCE = re.compile(rf"(?<![a-z]){_WORD}(?:\s?{_IS}(?![a-z])[ ::]{{0,4}}|[*_ ]{{0,4}}[::=] ?)(\S.*)", re.I)
_MINERVA = ". I hope it is correct"
# A sentence that goes on is no answer after a colon.
_MOST_WORDS, _LONGEST_LINE = 12, 1000
# What may stand around an answer as a whole.
_AROUND = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("```", "```"), ("`", "`"), ("'", "'"),
    ("“", "”"), ("‘", "’"), ("«", "»"), ("__", "__"), ("*", "*"),
)  # fmt: skip
_STOPS = (".", "。")
# A tag or a heading as a whole, and reasoning before the answer.
_TAG = re.compile(r"([<\[])(\w{1,30})[>\]]([^<>]*)\1/\2[>\]]")
_HEADING = re.compile(r"#{1,6}[ \t]+([^\n#]+)")
_EQUALS = re.compile(r"=\s*([^=\s].*)")
_REASONING = ("</think>", "</thinking>", "</reasoning>")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s*\{([^{}]*)\}")


class Found(NamedTuple):
    """An answer in its notation: where the notation begins and ends in the text, and what is inside."""

    start: int
    end: int
    content: str


def blocks(text: str) -> list[str]:
    """The contents of all ``<answer>`` blocks."""
    contents = []
    start = text.find(_OPEN)
    while start >= 0 and (end := text.find(_CLOSE, start)) >= 0:
        contents.append(text[start + len(_OPEN) : end])
        start = text.find(_OPEN, end)
    return contents


def last_block(text: str) -> str | None:
    """The content of the last ``<answer>`` block."""
    return contents[-1].strip() if (contents := blocks(text)) else None


def after_hashes(text: str) -> str | None:
    """The text after the last ``####`` on its line, if that starts the line or precedes a number, else None."""
    found = _hashes(text)
    return None if found is None else found.content


def last_box(text: str, braces: re.Pattern[str] = _BRACES) -> str | None:
    r"""The content of the last ``\boxed{…}`` whose braces close, None if there is none.

    Args:
        text: to search.
        braces: matches a box's opening, an opening brace and a closing brace.
    """
    found = _box(text, braces)
    return None if found is None else found.content


def last_frame(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}`` or ``\fbox{…}``, else of the last ``\boxed 7``, else None."""
    found = _frame(text)
    return None if found is None else found.content


def unwrapped(text: str) -> str | None:
    """The answer inside the text's outermost notation, None where it has none.

    Of several notations one after the other, the last holds the answer: a heading ``#### Step 2`` before a box does
    not.  An ``<answer>`` block goes before them all.

    >>> unwrapped("The answer is: #### 7"), unwrapped("#### 7"), unwrapped("7")
    ('#### 7', '7', None)
    """
    if block := last_block(_lower_tags(text)):
        return block
    for end in _REASONING:
        if end in text and (after := text.rpartition(end)[2].strip()):
            return after
    found = [one for one in (_hashes(text), _frame(text), _line(text)) if one is not None and one.content]
    last = max(found, key=lambda one: (one.end, -one.start), default=None)
    return _bare(text) if last is None or last.content == text else last.content


def _bare(text: str) -> str | None:
    r"""The text without the dollars, the ``\text{…}`` or the full stop around the whole of it, None without any."""
    for left, right in _AROUND:
        inner = text[len(left) : -len(right)].strip()
        whole = text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right)
        if whole and inner and left not in inner and right not in inner:
            return inner
    if (alone := _TEXT.fullmatch(text)) and alone[1].strip():
        return alone[1].strip()
    for whole_text, group in ((_TAG, 3), (_HEADING, 1), (_EQUALS, 1)):
        if (alone := whole_text.fullmatch(text)) and alone[group].strip():
            return alone[group].strip()
    stopped = text.endswith(_STOPS) and not text.endswith("..")
    return text[:-1].rstrip() or None if stopped else None


def _lower_tags(text: str) -> str:
    return re.sub(r"</?answer>", lambda tag: tag[0].lower(), text, flags=re.I)


def _hashes(text: str) -> Found | None:
    before, mark, rest = text.rpartition("####")
    line = rest.partition("\n")[0]
    starts = not before.rpartition("\n")[2].strip()
    if not mark or not (starts or re.match(r"\s*[-+−$€£]*\s*[\d.]", line)):
        return None
    start = len(before)
    return Found(start, start + len(mark) + len(line.rstrip()), line.strip())


def _box(text: str, braces: re.Pattern[str]) -> Found | None:
    opened: list[tuple[int, int]] = []
    last = None
    for brace in braces.finditer(text):
        if brace[0] != "}":
            opened.append((brace.start() if len(brace[0]) > 1 else -1, brace.end()))
        elif opened:
            start, inside = opened.pop()
            if start >= 0 and (last is None or start > last[0]):
                last = start, inside, brace.start()
    return None if last is None else Found(last[0], last[2] + 1, text[last[1] : last[2]].strip())


def _frame(text: str) -> Found | None:
    found = _box(text, _FRAMES)
    if found is None:
        for bare in _UNBRACED.finditer(text):
            found = Found(bare.start(), bare.end(), bare[1].rstrip(".,"))
    return found


def _line(text: str) -> Found | None:
    """What follows ``Answer:`` on the last line that begins so, or ``answer is`` in the last line."""
    labels = [one for one in _LABEL.finditer(text) if len(one[1]) <= _LONGEST_LINE]
    found = labels[-1] if labels else None
    if found is None:
        start = text.rstrip().rfind("\n") + 1
        if len(text) - start > _LONGEST_LINE:
            start = len(text) - _LONGEST_LINE
        for sentence in _SENTENCE.finditer(text, start):
            found = sentence
    if found is None:
        return None
    content = found[1].partition(_MINERVA)[0].strip("*_ \t\r")
    words = len(re.findall(r"[^\W\d_]{2,}", content))
    return Found(found.start(), found.start() + len(found[0].rstrip()), content) if words <= _MOST_WORDS else None
