"""The regression gate's comparison, recomputed from the two stored files: the baseline's and the runs' own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import COMPARISON, RESULTS
from pytest_entropy.reports.audit.arithmetic import ROUNDING, mean, spread, standard_error
from pytest_entropy.reports.audit.figures import REACH
from pytest_entropy.reports.audit.ledger import Ledger, finite, numbers
from pytest_entropy.reports.audit.stored_run import StoredRun

SAY = f"the baseline and the runs' {RESULTS} give"
RULE = re.compile(r"(?P<quantity>\w+)(?P<kind>[:~])[+-]?(?P<size>[0-9.]+(?:[eE][+-]?\d+)?)(?P<share>%?)")
Side = list[tuple[Mapping[str, Any], Mapping[str, Any]]]
# Before, now, the difference, and its standard error; None where it is not recomputed.
Recomputed = tuple[float, float, float, float | None]


def comparison(ledger: Ledger, directory: Path, baseline: Path, experiment: str, runs: Iterable[StoredRun]) -> None:
    """Compare ``comparison.json`` with the baseline's file and the runs.

    Args:
        ledger: where discrepancies are noted.
        directory: the experiment's.
        baseline: the baseline's file.
        experiment: the experiment's name.
        runs: the stored runs.
    """
    record = json.loads((directory / COMPARISON).read_bytes())
    if not record.get("quantities"):
        return
    before = json.loads(baseline.read_bytes())["experiments"].get(experiment)
    if before is None:
        ledger.differs(COMPARISON, f"compares with {baseline.name}, which has no {experiment}")
        return
    now = {_key(run.record): run.record for run in runs}
    pairs = [(old, now[_key(old)]) for old in before["runs"] if _key(old) in now]
    pairs = [(old, new) for old, new in pairs if len(old["per_prompt"]) == len(new["per_prompt"])]
    counted = re.match(r"(\d+) of (\d+) runs", str(record.get("pairing")))
    if counted:
        expected = (len(pairs), len(now))
        ledger.text(COMPARISON, "the pairing", (int(counted[1]), int(counted[2])), expected, says=SAY)
    for row in record["quantities"]:
        if row.get("before") is not None and pairs:
            _row(ledger, row, pairs)
            _both_errors(ledger, row, pairs)


def _key(run: Mapping[str, Any]) -> tuple[int, int, int]:
    return run["B_E"], run["run"], run["seed"]


def _row(ledger: Ledger, row: Mapping[str, Any], pairs: Side) -> None:
    quantity, outcome = row["quantity"], row["outcome"]
    compute = COMPUTE.get(quantity)
    if compute is None:
        return
    earlier, now, difference, se = compute(pairs)
    near = ROUNDING * (abs(earlier) + abs(now) + (se or 1.0))
    ledger.number(COMPARISON, f"{quantity} of the baseline", row["before"], earlier, within=near, says=SAY)
    ledger.number(COMPARISON, f"{quantity} now", row["after"], now, within=near, says=SAY)
    effect = finite(outcome["effect"])
    ledger.number(COMPARISON, f"the difference of {quantity}", effect, difference, within=1e3 * near, says=SAY)
    _interval(ledger, quantity, numbers(outcome.get("ci")), difference, se, near)
    rule = RULE.fullmatch(row["rule"])
    if rule is None:
        return
    share = float(rule["size"]) / (100 if rule["share"] else 1)
    margin = share * abs(earlier) if rule["share"] else share
    if quantity == "signal_to_noise":
        margin = math.log1p(share)
    ledger.number(COMPARISON, f"the margin of {quantity}", row["margin"], margin, within=near, says="its rule gives")
    ends = numbers(outcome.get("ci"))
    within = bool(ends) and -margin <= ends[0] and ends[1] <= margin
    if rule["kind"] == "~" and outcome["verdict"] == "pass" and not within:
        words = f"{quantity} passes {row['rule']}, and its interval {ends} is not within {margin:.6g}"
        ledger.differs(COMPARISON, words)
    # A rule without a direction fails on any difference that its interval shows to be beyond the margin.
    p, alpha = finite(outcome["p_value"]), finite(outcome["alpha"])
    if outcome["verdict"] == "fail" and p is not None and alpha is not None and p >= alpha:
        ledger.differs(COMPARISON, f"{quantity} failed with p = {p:.3g} at a false-alarm rate of {alpha:.3g}")
    if outcome["verdict"] == "pass" and row["word"] == "CHANGED":
        ledger.differs(COMPARISON, f"{quantity} passed, and is called changed")


def _both_errors(ledger: Ledger, row: Mapping[str, Any], pairs: Side) -> None:
    """Compare the two standard errors of each side's mean over all prompts."""
    single = pairs[0][1].get("mode") == "u_statistic"
    for side, name in enumerate(("errors_before", "errors_after")):
        shown = row.get(name)
        if shown is None:
            continue
        runs = [pair[side] for pair in pairs]
        se, total = _errors_of_mean(runs, single)
        for key, source in (("se_conditional", se), ("se_total", total)):
            ledger.number(COMPARISON, f"{name}.{key} of {row['quantity']}", shown.get(key), source, says=SAY)


def _errors_of_mean(runs: Sequence[Mapping[str, Any]], single: bool) -> tuple[float | None, float | None]:
    if len(runs) == 1:
        return finite(runs[0].get("se_conditional")), None if single else finite(runs[0].get("se_total"))
    squares = [float(run["se_conditional"]) ** 2 for run in runs]
    sizes = [float(run["B_E"]) for run in runs]
    prompts = math.fsum(sizes)
    # The variance of a weighted sum: each run's own, and what runs that draw from one set of prompts share.
    variance = math.fsum(n * n * v for n, v in zip(sizes, squares, strict=True)) / prompts**2
    shares = [share for run in runs if (share := finite(run.get("sampling_fraction"))) is not None]
    if shares:
        apart = 1 - math.fsum(n * n for n in sizes) / prompts**2
        variance += apart * max(shares) * mean(squares)
    parts = [
        (n, whole - square)
        for run, n, square in zip(runs, sizes, squares, strict=True)
        if (whole := finite(run.get("variance_total"))) is not None
    ]
    if single or not parts:
        return math.sqrt(variance), None
    of_update = math.fsum(n * part for n, part in parts) / math.fsum(n for n, _ in parts)
    return math.sqrt(variance), math.sqrt(variance + max(0.0, of_update))


def _interval(
    ledger: Ledger, quantity: str, ends: Sequence[float], difference: float, se: float | None, near: float
) -> None:
    if not ends or se is None or se <= near:
        return
    low, high = ends
    reach = (high - low) / 2 / se
    if not (low - near <= difference <= high + near and REACH[0] <= reach <= REACH[1]):
        words = f"the interval of {quantity} is {low:.6g} to {high:.6g}"
        ledger.differs(COMPARISON, f"{words}, {SAY} {difference:.6g} with the standard error {se:.6g}")


def _scaled(run: Mapping[str, Any]) -> list[float]:
    return [run["eta"] * s for s in run["per_prompt"]]


def _delta_h1(pairs: Side) -> Recomputed:
    old = [value for pair in pairs for value in _scaled(pair[0])]
    new = [value for pair in pairs for value in _scaled(pair[1])]
    differences = [later - earlier for later, earlier in zip(new, old, strict=True)]
    return mean(old), mean(new), mean(differences), standard_error(differences)


def _entropy(pairs: Side) -> Recomputed:
    weights = [len(new["per_prompt"]) for _, new in pairs]
    total = math.fsum(weights)
    old, new = (
        math.fsum(w * pair[side]["entropy_mean"] for w, pair in zip(weights, pairs, strict=True)) / total
        for side in (0, 1)
    )
    squares = [
        w**2 * (one**2 + other**2)
        for w, pair in zip(weights, pairs, strict=True)
        if (one := finite(pair[0].get("entropy_se"))) is not None
        and (other := finite(pair[1].get("entropy_se"))) is not None
    ]
    known = len(squares) == len(pairs) and new != old
    se = math.sqrt(math.fsum(squares)) / total if known else None
    return old, new, new - old, se


def _signal_to_noise(pairs: Side) -> Recomputed:
    sides = [[value for pair in pairs for value in _scaled(pair[side])] for side in (0, 1)]
    old, new = ((spread(values) or math.nan) / abs(mean(values)) for values in sides)
    earlier, later = (_pseudo_values(values) for values in sides)
    differences = [two - one for one, two in zip(earlier, later, strict=True)]
    return old, new, mean(differences), standard_error(differences)


def _pseudo_values(values: Sequence[float]) -> list[float]:
    """Jackknife pseudo-values of log(sd / |mean|): n times the whole, minus n - 1 times the rest without one value."""
    n, centre = len(values), mean(values)
    about = [value - centre for value in values]
    squares = math.fsum(value**2 for value in about)
    whole = 0.5 * math.log(squares / (n - 1)) - math.log(abs(centre))
    found = []
    for value in about:
        rest_mean = -value / (n - 1)
        rest = max(squares - value**2 - (n - 1) * rest_mean**2, 5e-324)
        log_rest = 0.5 * math.log(rest / (n - 2)) - math.log(abs(centre + rest_mean))
        found.append(n * whole - (n - 1) * log_rest)
    return found


COMPUTE: dict[str, Callable[[Side], Recomputed]] = {
    "delta_h1": _delta_h1,
    "entropy": _entropy,
    "signal_to_noise": _signal_to_noise,
}


def saved_baseline(ledger: Ledger, file: Path, experiment: str, runs: Iterable[StoredRun]) -> None:
    """Compare the entry of an experiment in a baseline that was saved with the runs.

    Args:
        ledger: where discrepancies are noted.
        file: the baseline's file.
        experiment: the experiment's name.
        runs: the stored runs.
    """
    entry = json.loads(file.read_bytes())["experiments"].get(experiment) or {"runs": []}
    saved = {(run["B_E"], run["run"]): run for run in entry["runs"]}
    stored = {run.order: run for run in runs}
    where = f"baseline {file.name}"
    ledger.text(where, f"the runs of {experiment}", sorted(saved), sorted(stored), says="stored are")
    for order in sorted(saved.keys() & stored.keys()):
        one, run = saved[order], stored[order]
        for name in (
            "eta", "delta_h1", "se_conditional", "entropy_mean", "entropy_se", "se_total", "variance_total",
            "sampling_fraction",
        ):  # fmt: skip
            ledger.number(where, f"{name} of {run.name}", one.get(name), run.number(name))
        ledger.text(where, f"seed of {run.name}", one["seed"], run.record["seed"])
        same = numbers(one["per_prompt"]) == numbers(run.record["per_prompt"])
        if not same:
            ledger.differs(where, f"per_prompt of {run.name} is not that of its {RESULTS}")
