"""How many runs the error of their mean needs to reach a target: a pilot predicts it, and the runs themselves decide.

Runs are taken in order.  The pilot is the first ones with at least ``PILOT`` prompts; by its error, which falls with
the root of the number of runs, that number is predicted.  From there on runs are taken until the target is reached.
Each decision rests on the runs before it alone, so that it is the same in whatever order workers compute them.
The error that ends a measurement is estimated from it: docs/statistics.md ("Coverage of the intervals") says what that
does to the mean and its interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# Prompts of a pilot: an error estimated from fewer would end measurements by chance.
PILOT = 256
# Share of a run by which a prediction may exceed a whole number: it is rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class ErrorAfter:
    """The error of the mean over the first runs, and the largest that the target allows; both in one unit.

    Attributes:
        se: the standard error of the mean.
        allowed: the largest that the target allows.
        fraction: the share of one set of prompts that each run draws: this part of a run's variance stays, however
            many runs there are (:func:`.pooling.pool`).
    """

    se: float
    allowed: float
    fraction: float

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.se <= self.allowed

    def predicted(self, runs: int) -> float:
        """The number of runs that reach the target, if these are ``runs``; infinite where none does."""
        if not self.se:
            return 1.0
        if math.isinf(self.se):
            return math.inf
        # Of the variance of one run: what these runs have, and what may be.
        left = (1 - self.fraction) / runs + self.fraction
        wanted = left * (self.allowed / self.se) ** 2 - self.fraction
        return (1 - self.fraction) / wanted if wanted > 0 else math.inf


def pilot_runs(B_E: int, step: int = 1) -> int:
    """The number of runs of a pilot, a multiple of ``step``.

    >>> pilot_runs(256), pilot_runs(64), pilot_runs(64, step=3)
    (1, 4, 6)

    Args:
        B_E: prompts of a run.
        step: runs that are taken together, one along each update batch.
    """
    return step * math.ceil(PILOT / B_E / step)


def runs_needed(after: Callable[[int], ErrorAfter], B_E: int, *, step: int = 1, most: int) -> int:
    """The number of runs that are taken, at most ``most``.

    Args:
        after: the error after so many runs; it is asked in increasing order, and never after more than are needed.
        B_E: prompts of a run.
        step: runs that are taken together, one along each update batch.
        most: runs that there may be, a multiple of ``step``.
    """
    taken = pilot_runs(B_E, step)
    if taken >= most:
        return most
    first = after(taken)
    if first.reached:
        return taken
    taken = planned_runs(first, taken, step=step, most=most)
    while taken < most and not after(taken).reached:
        taken += step
    return taken


def planned_runs(pilot: ErrorAfter, runs: int, *, step: int = 1, most: int) -> int:
    """The number of runs that a pilot predicts, a multiple of ``step``, at most ``most``.

    >>> planned_runs(ErrorAfter(0.002, 0.001, 0.0), 1, most=16), planned_runs(ErrorAfter(0.002, 0.0, 0.0), 1, most=16)
    (4, 16)

    Args:
        pilot: the error after the pilot.
        runs: of the pilot.
        step: runs that are taken together.
        most: runs that there may be, a multiple of ``step``.
    """
    predicted = pilot.predicted(runs)
    return most if predicted >= most else step * math.ceil(predicted / step - ROUNDING)
