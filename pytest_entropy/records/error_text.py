"""What a failed run leaves behind, ``error.txt``: the session's stamp, then the traceback; and its reason read back."""

from __future__ import annotations

# Stands before the place of the traceback in the messages of failed items.
POINTER = "traceback: "


def reason_in(text: str) -> str:
    """The exception itself in an ``error.txt``: from the last line of the traceback that starts in column one."""
    starts = [n for n, line in enumerate(text.splitlines()) if line and not line.startswith((" ", "session", POINTER))]
    return "\n".join(text.splitlines()[starts[-1] :]) if starts else text
