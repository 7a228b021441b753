"""The names of diagnostics that a probe can compute beside the entropy gradient: scalars and measurements."""

from __future__ import annotations

import difflib

from pytest_entropy import registry

# Diagnostics that are neither estimators nor per-prompt scalars.
MEASUREMENTS = ("ranks", "definition", "entropy_slope", "total_variance", "eta_sweep")
# The diagnostics that the sanity checks need.
CHECKED = ("reinforce_loo", "score", "ranks", "definition", "entropy_slope")
# At depth light one run in so many has them.  A run with all of them takes 4.3 times as long as one without with 32
# prompts, 3.4 times with 256 (measured on the demo), so that two in 15 make all take at most 1.5 times as long.
LIGHT_ONE_IN = 7


def runs_with_diagnostics(runs: int, depth: str) -> tuple[int, ...]:
    """Numbers of the runs at one B_E that have the diagnostics of the sanity checks, of runs 1 to ``runs``.

    They are all runs, or at depth ``light`` one in seven, at least one: the first, the last and those evenly between,
    so that the last one sees what earlier runs have left changed.

    >>> runs_with_diagnostics(15, "light"), runs_with_diagnostics(21, "light"), runs_with_diagnostics(3, "light")
    ((1, 15), (1, 11, 21), (1,))
    """
    if depth != "light":
        return tuple(range(1, runs + 1))
    count = max(1, runs // LIGHT_ONE_IN)
    return tuple(1 + n * (runs - 1) // max(1, count - 1) for n in range(count))


def known_diagnostics(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``names`` if each is the name of an estimator, a per-prompt scalar or a measurement.

    Raises:
        ValueError: a name is unknown, and the message names the nearest known one; or ``entropy_slope`` is there
            without ``score``.
    """
    known = (*registry.names("estimators"), *registry.names("scalars"), *MEASUREMENTS)
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"diagnostics: {unknown[0]!r} is not known; {hint}")
    if "entropy_slope" in names and "score" not in names:
        raise ValueError("diagnostics: 'entropy_slope' uses the step of 'score'; name both")
    return names
