"""The numbers in the words of an experiment's conclusion, against the runs' files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_entropy.records.paths import CONCLUSION
from pytest_entropy.reports.audit.arithmetic import line_through, mean
from pytest_entropy.reports.audit.figures import fitted_value
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.printed import MEASURE
from pytest_entropy.reports.audit.stored_run import StoredRun, pooled

Runs = Sequence[StoredRun]


def conclusion_numbers(
    ledger: Ledger, stated: Mapping[str, Any], record: Mapping[str, Any], experiment: str, runs: Runs
) -> None:
    """Compare the numbers in the reason: a and b of batch scaling, delta_h1 of each described run, and how many runs
    have diagnostics.

    Args:
        ledger: where discrepancies are noted.
        stated: the conclusion.
        record: the analysis' record.
        experiment: the experiment's name.
        runs: the runs in the order of (B_E, run).
    """
    reason = str(stated.get("reason") or "")
    if experiment == "batch_scaling":
        ledger.text(CONCLUSION, "the verdict", stated.get("verdict"), record["verdict"], says="its analysis says")
        fitted = line_through([run.B_E for run in runs], [mean(run.contributions) for run in runs])
        for name, value in zip("ab", fitted or (), strict=False):
            found = re.search(rf"\b{name} = ({MEASURE})", reason)
            if found:
                fitted_value(ledger, CONCLUSION, name, found[1], value)
    some = re.search(r"(\d+) of them with diagnostics", reason)
    if some:
        asked = sum("definition" in (run.record.get("asked") or ()) for run in runs)
        ledger.text(CONCLUSION, "the number of runs with diagnostics", int(some[1]), asked, says="stored are")
    if experiment == "single_run" and runs:
        whole = pooled(runs, runs)
        described = [("the runs' mean", whole.value, whole.se)]
    else:
        described = [(run.name, run.number("delta_h1"), run.number("se_conditional")) for run in runs]
        described = described if experiment == "debug" else []
    parts = re.findall(rf"(?:(falls|rises) by [^:,;]*[:,;] ?[^;]*?|[^;]*?)δH₁ = ({MEASURE})", reason)
    if len(parts) != len(described):
        return
    for (way, text), (name, delta, se) in zip(parts, described, strict=True):
        ledger.measure(CONCLUSION, f"delta_h1 of {name}", text, delta, se)
        if way and delta is not None and (delta < 0) != (way == "falls"):
            ledger.differs(CONCLUSION, f"says that entropy {way}, and delta_h1 of {name} is {delta:.6g}")
