"""The format of a failed run's ``error.txt``: the session's stamp, then the traceback; and the reason read from it."""

from __future__ import annotations

# Precedes the path of the traceback in the messages of failed items.
POINTER = "traceback: "


def reason_in(text: str) -> str:
    """The exception's type and message in the text of an ``error.txt``: the last unindented line and what follows."""
    starts = [n for n, line in enumerate(text.splitlines()) if line and not line.startswith((" ", "session", POINTER))]
    return "\n".join(text.splitlines()[starts[-1] :]) if starts else text
