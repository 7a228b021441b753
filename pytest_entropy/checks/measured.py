"""What a check needs was measured, or the check is inconclusive and names what is missing; never a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import numpy as np

from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome

P = ParamSpec("P")
Runs = Sequence["RunRecord"]


class Missing(Exception):
    """A measurement that a check needs is not in a run's record."""


def number(run: RunRecord, name: str, *, of: str = "agreement") -> float:
    """The measured number ``name`` of a run: of its ``agreement``, of its ``update``, or a field (``of=""``).

    Raises:
        Missing: it is None, NaN, or no number.
        AttributeError: a name that no run could have.
    """
    value = getattr(getattr(run, of) if of else run, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise Missing(f"B_E {run.B_E} run {run.run} has no {of + '.' if of else ''}{name}")
    return float(value)


def rows(run: RunRecord, name: str) -> list[Any]:
    """The list ``name`` that the run's update recorded.

    Raises:
        Missing: it is not there, or empty.
    """
    value = getattr(run.update, name)
    if not value:
        raise Missing(f"B_E {run.B_E} run {run.run} has no update.{name}")
    return list(value)


def numbers(runs: Runs, *names: str, of: str = "agreement") -> list[float]:
    """:func:`number` of all runs, name by name.

    Raises:
        Missing: one is not there.
    """
    return [number(run, name, of=of) for name in names for run in runs]


def per_prompt(run: RunRecord, name: str) -> np.ndarray:
    """``[B_E]`` scalars of the diagnostic ``name``; ``entropy_term`` for <X_n, u> itself.

    Raises:
        Missing: they are not there, or are not one for each prompt.
    """
    values = run.entropy_term if name == "entropy_term" else run.diagnostics.get(name)
    if values is None or len(values) != len(run.per_prompt):
        raise Missing(f"B_E {run.B_E} run {run.run} has no diagnostics.{name} for each of its prompts")
    return np.asarray(values, dtype=float)


def array(run: RunRecord, name: str) -> np.ndarray:
    """The array ``name`` kept beside a run's record.

    Raises:
        Missing: it is not there.
    """
    if name not in run.arrays:
        raise Missing(f"B_E {run.B_E} run {run.run} has no array {name}")
    return run.arrays[name]


def was_asked(run: RunRecord, name: str) -> bool:
    """Whether the diagnostic ``name`` was configured for the run.

    Raises:
        Missing: the run does not say what was.
    """
    if run.asked is None:
        raise Missing(f"B_E {run.B_E} run {run.run} does not say which diagnostics were asked for")
    return name in run.asked


def needs_measurements(
    name: str, null: str
) -> Callable[[Callable[Concatenate[Runs, P], CheckOutcome]], Callable[Concatenate[Runs, P], CheckOutcome]]:
    """A check of runs, named ``name``, that is inconclusive where something it asks for is :class:`Missing`."""

    def decorate(
        check: Callable[Concatenate[Runs, P], CheckOutcome],
    ) -> Callable[Concatenate[Runs, P], CheckOutcome]:
        @wraps(check)
        def judged(runs: Runs, *args: P.args, **kwargs: P.kwargs) -> CheckOutcome:
            try:
                return check(runs, *args, **kwargs)
            except Missing as missing:
                return not_measured(name, null, len(runs), str(missing))

        return judged

    return decorate


def not_measured(name: str, null: str, runs: int, what: str) -> CheckOutcome:
    """The inconclusive outcome of a check that lacks a measurement, with what is missing as its reason."""
    return undecided(
        name, null, runs, f"{what}: what was not measured cannot pass; compute the run anew (without --resume)"
    )


def undecided(name: str, null: str, runs: int, reason: str) -> CheckOutcome:
    """The inconclusive outcome of a check that these runs cannot decide."""
    return CheckOutcome(
        name, null, None, None, 0.0, None, None, "runs", runs, "inconclusive", None, None, None, "", reason=reason
    )
