"""A check that could not decide, on one line: what was expected, and what deciding would take."""

from __future__ import annotations

MORE = "to decide: more --runs, larger B_E, or a larger --entropy-alpha"


def undecided_in_words(message: str) -> str:
    """The message of a check that could not decide, on one line: what was expected, and what it would take."""
    parts = [line.strip() for line in message.splitlines()[1:]]
    parts = [part.removeprefix("expected: ") for part in parts if not part.startswith(("seen:", "p ="))]
    # A cause helps where something has to be changed; where only numbers are lacking it would mislead.
    if any(part.startswith("this sample can see") for part in parts):
        parts = [part for part in parts if not part.startswith("points to:")]
    if not any(part.startswith(("to decide:", "points to:", "because:")) for part in parts):
        parts.append(MORE)
    return "; ".join(parts)
