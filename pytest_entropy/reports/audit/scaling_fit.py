"""The scaling fit of an experiment's record, against least squares of the stored runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_entropy.reports.audit.arithmetic import line_through, mean, size, spread_within, standard_error
from pytest_entropy.reports.audit.figures import REACH
from pytest_entropy.reports.audit.ledger import Ledger, finite, numbers
from pytest_entropy.reports.audit.sizes import GIVES
from pytest_entropy.reports.audit.stored_run import StoredRun, rounding_of

Runs = Sequence[StoredRun]


def scaling_fit_numbers(ledger: Ledger, file: str, stated: Mapping[str, Any], runs: Runs) -> None:
    """Compare every number of the fit.

    Args:
        ledger: where discrepancies are noted.
        file: the record's name.
        stated: the record of the fit.
        runs: the stored runs.
    """
    counts = {
        "n_runs": len(runs),
        "n_prompts": sum(run.B_E for run in runs),
        "batch_sizes": sorted({run.B_E for run in runs}),
    }
    for key, expected in counts.items():
        ledger.text(file, f"fit.{key}", stated[key], expected, says="stored are")
    groups = [run.contributions for run in runs]
    sigma = spread_within(groups)
    ledger.number(file, "fit.sigma", stated["sigma"], sigma, within=rounding_of(runs), says=GIVES)
    sizes = [run.B_E for run in runs]
    line = line_through(sizes, [mean(values) for values in groups])
    if line is None or sigma is None:
        return
    scale = 1e-6 * size([part for values in groups for part in values])
    says = "least squares of its runs gives"
    errors = _own_errors(groups) if runs[0].is_single_batch else _common_errors(sizes, sigma)
    for name, value, se, near in zip("ab", line, errors, (scale, scale * max(sizes)), strict=True):
        ledger.number(file, f"fit.{name}", stated[name], value, within=near, says=says)
        if name == "a" and not runs[0].is_single_batch:
            se = _with_shared_prompts(se, runs, finite(stated[f"se_{name}"]))
        ledger.number(file, f"fit.se_{name}", stated[f"se_{name}"], se, within=near, says=says)
        _interval(ledger, file, f"fit.ci_{name}", numbers(stated.get(f"ci_{name}")), value, se, near)


def _common_errors(sizes: Sequence[int], sigma: float) -> tuple[float, float]:
    """Errors of (a, b) for one spread of all prompts: their covariance is sigma^2 times the inverse of the normal
    equations' matrix."""
    inverse = math.fsum(1 / B for B in sizes), math.fsum(sizes)
    determinant = inverse[0] * inverse[1] - len(sizes) ** 2
    return sigma * math.sqrt(inverse[0] / determinant), sigma * math.sqrt(inverse[1] / determinant)


def _own_errors(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Errors of (a, b) of runs with an update each, whose variances differ: weighted sums of the runs' means."""
    sizes = [len(values) for values in groups]
    reciprocal, total, count = math.fsum(1 / B for B in sizes), math.fsum(sizes), len(sizes)
    determinant = reciprocal * total - count**2
    errors = [standard_error(values) for values in groups]
    squares = [math.nan if error is None else error**2 for error in errors]
    of_a = math.fsum((reciprocal * B - count) ** 2 * square for B, square in zip(sizes, squares, strict=True))
    of_b = math.fsum((total - count * B) ** 2 * square for B, square in zip(sizes, squares, strict=True))
    return math.sqrt(of_a) / determinant, math.sqrt(of_b) / determinant


def _interval(
    ledger: Ledger, file: str, name: str, ends: Sequence[float], value: float, se: float, near: float
) -> None:
    if not ends or se <= near:
        return
    low, high = ends
    reach = (high - low) / 2 / se
    if not low - near <= value <= high + near or not REACH[0] <= reach <= REACH[1]:
        words = f"{name} is {low:.6g} to {high:.6g}, {reach:.3g} standard errors to each side"
        ledger.differs(file, f"{words}, {GIVES} {value:.6g} with the standard error {se:.6g}")


def _with_shared_prompts(se: float, runs: Runs, shown: float | None) -> float:
    """The error of a with what runs that draw from one set of prompts have in common; it may be left out."""
    shares = [(run.number("se_conditional"), run.number("sampling_fraction")) for run in runs]
    common = [error**2 * share for error, share in shares if error is not None and share is not None]
    if len(common) < len(runs) or shown is None:
        return se
    return min(se, math.sqrt(se**2 + mean(common)), key=lambda one: abs(one - shown))
