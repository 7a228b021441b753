"""The names of diagnostics that a probe can compute beside the entropy gradient: scalars and measurements."""

from __future__ import annotations

import difflib

from pytest_entropy import registry

# Diagnostics that are neither estimators nor per-prompt scalars.
MEASUREMENTS = ("ranks", "definition", "entropy_slope", "total_variance", "eta_sweep")
# The diagnostics that the sanity checks need.
CHECKED = ("reinforce_loo", "score", "ranks", "definition", "entropy_slope")


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
