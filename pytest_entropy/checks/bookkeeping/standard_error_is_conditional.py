"""The reported error is eta times the standard error of the mean of s_n, with ddof = 1 (docs/mathematics.md §4)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import ORACLE_TOLERANCE, Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, beyond, identity, scaled, size_of


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies of each run's SE and variance, the latter also from a single batch's rows."""
    for run in runs:
        s = scaled(run)
        se, size = s.std(ddof=1) / len(s) ** 0.5, size_of(s)
        variance = run.number("variance_conditional")
        yield "se_conditional", abs(run.number("se_conditional") - se) / size
        yield "variance_conditional", abs(variance - se**2) / size**2
        if run.is_single_batch:
            rows = 4 * run.number("eta") ** 2 * run.number("u_statistic.zeta_1_jackknife") / run.B_E
            yield "zeta_1_jackknife", beyond(abs(variance - rows) / size**2, ORACLE_TOLERANCE)


CHECK = identity(
    "standard_error_is_conditional",
    "se_conditional^2 = variance_conditional = eta^2 var(s_n, ddof=1) / B_E",
    "ddof other than 1, or a division by B_E too many or too few in the error",
    ("per_prompt", "eta", "se_conditional", "variance_conditional", "u_statistic.zeta_1_jackknife"),
    discrepancies,
)
