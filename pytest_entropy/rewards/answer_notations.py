r"""Find the answer in a text by its notation: ``<answer>``, ``####``, ``\boxed``, ``\fbox``."""

from __future__ import annotations

import re

# The texts of models and data sets may be long and repetitive: the searches below take one pass, without backtracking.
_OPEN, _CLOSE = "<answer>", "</answer>"
_BRACES = re.compile(r"\\boxed\s*\{|[{}]")
_FRAMES = re.compile(r"\\(?:boxed|fbox)\s*\{|[{}]")
_UNBRACED = re.compile(r"\\(?:boxed|fbox)\s+([^\s{}$\\]+)")


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
    before, mark, rest = text.rpartition("####")
    line = rest.partition("\n")[0].strip()
    starts = not before.rpartition("\n")[2].strip()
    return line if mark and (starts or re.match(r"[-+$€£]*\s*[\d.]", line)) else None


def last_box(text: str, braces: re.Pattern[str] = _BRACES) -> str | None:
    r"""The content of the last ``\boxed{…}`` whose braces close, None if there is none.

    Args:
        text: to search.
        braces: matches a box's opening, an opening brace and a closing brace.
    """
    opened: list[tuple[bool, int]] = []
    last, content = -1, None
    for brace in braces.finditer(text):
        if brace[0] != "}":
            opened.append((len(brace[0]) > 1, brace.end()))
        elif opened:
            is_box, start = opened.pop()
            if is_box and start > last:
                last, content = start, text[start : brace.start()].strip()
    return content


def last_frame(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}`` or ``\fbox{…}``, else of the last ``\boxed 7``, else None."""
    content = last_box(text, _FRAMES)
    if content is None and (unbraced := _UNBRACED.findall(text)):
        content = unbraced[-1].rstrip(".,")
    return content
