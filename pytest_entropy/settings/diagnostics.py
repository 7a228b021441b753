"""What a probe can be asked for beside the entropy gradient: further scalars and further measurements, by name."""

from __future__ import annotations

import difflib

from pytest_entropy import registry

# Diagnostics that are no estimators.
MEASUREMENTS = ("ranks", "definition", "entropy_slope", "total_variance", "eta_sweep")
# What the sanity checks need beside the scalars.
CHECKED = ("reinforce_loo", "score", "ranks", "definition", "entropy_slope")


def known_diagnostics(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names themselves, if each is an estimator's, a scalar's or a measurement's.

    Raises:
        ValueError: one is not, with the nearest that is; or ``entropy_slope`` without ``score``.
    """
    known = (*registry.names("estimators"), *registry.names("scalars"), *MEASUREMENTS)
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"diagnostics: {unknown[0]!r} is not known; {hint}")
    if "entropy_slope" in names and "score" not in names:
        raise ValueError("diagnostics: 'entropy_slope' takes its step from 'score'; ask for both")
    return names
