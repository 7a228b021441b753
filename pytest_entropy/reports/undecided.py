"""The message of an inconclusive check on one line: the expectation, and what a decision would take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from pytest_entropy.settings.experiments import ExperimentKind
from pytest_entropy.stats import CheckOutcome

MORE = "to decide: more --runs, larger B_E, or a larger --entropy-alpha"


def undecided_in_words(message: str, remedy: str = "") -> str:
    """Shorten an inconclusive check's message to one line: the expectation, and what a decision would take.

    Args:
        message: of the check's outcome.
        remedy: the option that gives the number of prompts that the message asks for, where it is known.
    """
    parts = [line.strip() for line in message.splitlines()[1:]]
    parts = [part.removeprefix("expected: ") for part in parts if not part.startswith(("seen:", "p ="))]
    if remedy:
        parts = [re.sub(r"^to decide: (n = \d+)", rf"to decide: {remedy} (\1)", part) for part in parts]
    # Likely causes would mislead where the sample is only too small.
    if any(part.startswith("this sample can see") for part in parts):
        parts = [part for part in parts if not part.startswith("points to:")]
    if not any(part.startswith(("to decide:", "points to:", "because:")) for part in parts):
        parts.append(MORE)
    return "; ".join(parts)


def remedy(kind: ExperimentKind, batch: Mapping[str, Any], check: CheckOutcome) -> str:
    """The option that gives a check the prompts that it takes to decide; empty where it does not say how many.

    Args:
        kind: of the experiment, which says what options it has.
        batch: the section ``batch_config`` of its configuration.
        check: the outcome.
    """
    if check.samples_needed is None or not check.n:
        return ""
    factor = check.samples_needed / check.n
    if kind.repeats:
        return f"--runs {ceil(batch['runs_per_batch'] * factor)}"
    return f"{kind.sizes} {','.join(str(ceil(size * factor)) for size in batch['B_E_values'])}"
