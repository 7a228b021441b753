"""The message of an inconclusive check on one line: the expectation, and what a decision would take."""

from __future__ import annotations

MORE = "to decide: more --runs, larger B_E, or a larger --entropy-alpha"


def undecided_in_words(message: str) -> str:
    """Shorten an inconclusive check's message to one line: the expectation, and what a decision would take."""
    parts = [line.strip() for line in message.splitlines()[1:]]
    parts = [part.removeprefix("expected: ") for part in parts if not part.startswith(("seen:", "p ="))]
    # Likely causes would mislead where the sample is only too small.
    if any(part.startswith("this sample can see") for part in parts):
        parts = [part for part in parts if not part.startswith("points to:")]
    if not any(part.startswith(("to decide:", "points to:", "because:")) for part in parts):
        parts.append(MORE)
    return "; ".join(parts)
