"""The record of each built-in experiment's analysis, against the runs' files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import CONCLUSION, RESULTS
from pytest_entropy.reports.audit.arithmetic import (
    ROUNDING,
    largest_allowed,
    mean,
    noise_over_signal,
    size,
    spread,
    standard_error,
)
from pytest_entropy.reports.audit.conclusion import conclusion_numbers
from pytest_entropy.reports.audit.ledger import Ledger, finite, lookup, numbers
from pytest_entropy.reports.audit.memory_scaling import copied_probes, memory_scaling_numbers
from pytest_entropy.reports.audit.scaling_fit import scaling_fit_numbers
from pytest_entropy.reports.audit.sizes import GIVES, by_size
from pytest_entropy.reports.audit.stored_run import StoredRun, pooled, rounding_of
from pytest_entropy.reports.audit.sweep import sweep, sweep_arrays

Runs = Sequence[StoredRun]
COPIED = (
    "delta_h1", "se_conditional", "se_total", "entropy_mean", "entropy_se", "eta", "peak_memory_mb", "length_mean",
    "ended_share", "B_E", "G",
)  # fmt: skip


def is_older(file: Path, directory: Path, runs: Runs) -> bool:
    """Whether a file of the experiment was written before one of its runs, as after a resumed session without analysis.

    Args:
        file: the record of an analysis.
        directory: the experiment's.
        runs: its stored runs.
    """
    written = file.stat().st_mtime_ns
    return any(os.stat(os.path.join(directory, run.directory, RESULTS)).st_mtime_ns > written for run in runs)


def analysis(ledger: Ledger, directory: Path, experiment: str, runs: Runs) -> list[Mapping[str, Any]] | None:
    """Compare the record of a built-in experiment's analysis with the runs; returns its eta sweeps.

    None where nothing was compared: without a record of a known form, or with one that is older than a run, of a
    session that did not make it again.

    Args:
        ledger: where discrepancies are noted.
        directory: the experiment's.
        experiment: its name.
        runs: the runs in the order of (B_E, run).
    """
    known = ANALYSES.get(experiment)
    if known is None or not runs:
        return None
    name, compare = known
    file = directory / name
    if not file.is_file() or is_older(file, directory, runs):
        return None
    record = json.loads(file.read_bytes())
    try:
        compare(ledger, name, record, runs)
    except KeyError:
        return None  # of an earlier version, whose records had other keys
    if compare is memory_scaling_numbers:
        copied_probes(ledger, name, record, directory)
    swept = list(_sweeps(record, runs))
    for of_run, run in swept:
        arrays = sweep_arrays(directory, run)
        if arrays is None:
            ledger.differs(name, f"has an eta sweep of {run.name}, which stored none")
        else:
            sweep(ledger, name, of_run, arrays, run)
    conclusion = directory / CONCLUSION
    if conclusion.is_file() and not is_older(conclusion, directory, runs):
        conclusion_numbers(ledger, json.loads(conclusion.read_bytes()), record, experiment, runs)
    return [of_run for of_run, _ in swept]


def _sweeps(record: Mapping[str, Any], runs: Runs) -> Iterator[tuple[Mapping[str, Any], StoredRun]]:
    if record.get("eta_sweep"):
        yield record["eta_sweep"], runs[0]
    listed = record.get("runs")
    for entry in listed if isinstance(listed, list) else ():
        run = next((run for run in runs if run.order == (entry.get("B_E"), entry.get("run"))), None)
        if run is not None and entry.get("eta_sweep"):
            yield entry["eta_sweep"], run


def _convergence(ledger: Ledger, file: str, record: Mapping[str, Any], runs: Runs) -> None:
    sizes = by_size(runs)
    stated = record["batch_statistics"]
    ledger.text(file, "the list of B_E", sorted(map(int, stated)), list(sizes), says=GIVES)
    means = {}
    for B_E, of_size in sizes.items():
        means[B_E] = mean([mean(run.contributions) for run in of_size])
        if str(B_E) in stated:
            _of_size(ledger, file, stated[str(B_E)], of_size)
            whole = pooled(of_size, runs)
            total = lookup(record, "mean_se_total") or {}
            shown = finite(total.get(str(B_E)))
            ledger.number(file, f"mean_se_total of B_E {B_E}", shown, whole.total_near(shown), says=GIVES)
    smallest, largest = min(sizes), max(sizes)
    ledger.number(file, "expected_if_1_over_B_E", record["expected_if_1_over_B_E"], largest / smallest, says=GIVES)
    ratio = None
    if len(sizes) > 1 and means[largest] != 0:
        ratio = abs(means[smallest] / means[largest])
    near = 1e-6 * (ratio or 1.0)
    ledger.number(file, "observed_ratio", record["observed_ratio"], ratio, within=near, says=GIVES)
    verdict = record["verdict"]
    for key, word in (("suggests_convergence", "converges"), ("suggests_1_over_B_E_scaling", "scales_as_1/B_E")):
        ledger.text(file, key, record[key], verdict == word, says=f"the verdict {verdict!r} means")
    if record.get("fit"):
        scaling_fit_numbers(ledger, file, record["fit"], runs)


def _of_size(ledger: Ledger, file: str, stated: Mapping[str, Any], runs: Runs) -> None:
    where = f"of B_E {runs[0].B_E}"
    values = [mean(run.contributions) for run in runs]
    near = ROUNDING * size([value for run in runs for value in run.contributions])
    ledger.text(file, f"the number of runs {where}", stated["runs"], len(runs), says="stored are")
    ledger.number(file, f"mean_delta_h1 {where}", stated["mean_delta_h1"], mean(values), within=near, says=GIVES)
    ledger.number(file, f"std_delta_h1 {where}", stated["std_delta_h1"], spread(values), within=near, says=GIVES)
    errors = [standard_error(run.contributions) for run in runs]
    se = mean([error for error in errors if error is not None])
    ledger.number(file, f"mean_se {where}", stated["mean_se"], se, within=near, says=GIVES)
    ratio, word = noise_over_signal(mean(values), se)
    if abs(mean(values)) > 1e3 * near:
        within = 1e-3 * (ratio or 1.0)
        ledger.number(file, f"signal_to_noise {where}", stated["signal_to_noise"], ratio, within=within, says=GIVES)
        ledger.text(file, f"the label {where}", stated["signal_to_noise_label"], word, says="its ratio means")
    for run, value in zip(runs, stated["values"], strict=False):
        ledger.number(file, f"delta_h1 of {run.name}", value, run.number("delta_h1"), within=near)


def _validation(ledger: Ledger, file: str, record: Mapping[str, Any], runs: Runs) -> None:
    planned, done = record["runs_planned"], record["runs_succeeded"]
    ledger.text(file, "runs_succeeded", done, len(runs), says="stored are")
    asked = sum("definition" in (run.record.get("asked") or ()) for run in runs)
    ledger.text(file, "runs_with_diagnostics", record["runs_with_diagnostics"], asked, says="stored are")
    ledger.number(file, "success_rate", record["success_rate"], len(runs) / planned, says=GIVES)
    whole, near = pooled(runs, runs), rounding_of(runs)
    deltas = [value for run in runs if (value := run.number("delta_h1")) is not None]
    errors = [error for run in runs if (error := run.number("se_conditional")) is not None]
    rms = math.sqrt(mean([error**2 for error in errors])) if len(errors) == len(runs) else None
    sd = spread(deltas)
    expected = {
        "delta_h1_mean": whole.value,
        "delta_h1_mean_se": whole.se,
        "delta_h1_mean_se_total": whole.total_near(finite(record["delta_h1_mean_se_total"])),
        "spread_over_runs": sd,
        "se_conditional_pooled": rms,
    }
    for key, value in expected.items():
        ledger.number(file, key, record[key], value, within=near, says=GIVES)
    if sd is not None and rms:
        ledger.number(file, "spread_over_se", record["spread_over_se"], sd / rms, within=1e-6, says=GIVES)
    ratio, word = noise_over_signal(whole.value, whole.se)
    ledger.number(file, "signal_to_noise", record["signal_to_noise"], ratio, within=1e-6 * (ratio or 1.0), says=GIVES)
    ledger.text(file, "signal_to_noise_label", record["signal_to_noise_label"], word, says="its ratio means")
    by_order = {run.order: run for run in runs}
    for entry in record["per_run"]:
        run = by_order.get((entry["B_E"], entry["run"]))
        if run is None:
            ledger.differs(file, f"has B_E {entry['B_E']} run {entry['run']}, which has no {RESULTS}")
            continue
        _copied(ledger, file, entry, run)
        ledger.number(file, f"seconds of {run.name}", entry["seconds"], run.seconds)
        stored, eta = lookup(run.record, "diagnostics.reinforce_loo"), run.number("eta")
        others, stated = numbers(stored), entry["reinforce_loo"]
        if stored is None:
            ledger.number(file, f"reinforce_loo of {run.name}", stated, None)
        elif others and eta is not None:
            value, floor = eta * mean(others), ROUNDING * abs(eta) * size(others)
            ledger.number(file, f"reinforce_loo of {run.name}", stated, value, within=floor)


def _copied(ledger: Ledger, file: str, entry: Mapping[str, Any], run: StoredRun) -> None:
    for key in COPIED:
        if key in entry:
            ledger.number(file, f"{key} of {run.name}", entry[key], run.number(key))
    parts = entry.get("variance_parts")
    for key, value in (parts or {}).items():
        ledger.number(file, f"variance_parts.{key} of {run.name}", value, run.number(f"variance_parts.{key}"))


def _single(ledger: Ledger, file: str, record: Mapping[str, Any], runs: Runs) -> None:
    results = record["results"]
    ledger.text(file, "the number of results", len(results), len(runs), says="stored are")
    for entry, run in zip(results, runs, strict=False):
        _copied(ledger, file, entry, run)
        ratio, word = noise_over_signal(run.number("delta_h1"), run.number("se_conditional"))
        ledger.number(file, f"signal_to_noise of {run.name}", entry.get("signal_to_noise"), ratio, says=GIVES)
        ledger.text(file, f"the label of {run.name}", entry["signal_to_noise_label"], word, says="its ratio means")
        ledger.number(file, f"reward_mean of {run.name}", entry.get("reward_mean"), run.number("update.reward_mean"))
        B_U = len(lookup(run.record, "update.prompts") or ())
        ledger.text(file, f"B_U of {run.name}", entry["B_U"], B_U)
    whole, stated = pooled(runs, runs), record["mean"]
    near = rounding_of(runs)
    ledger.number(file, "the mean delta_h1", stated["delta_h1"], whole.value, within=near, says=GIVES)
    ledger.number(file, "se_conditional of the mean", stated["se_conditional"], whole.se, within=near, says=GIVES)
    shown = finite(stated["se_total"])
    ledger.number(file, "se_total of the mean", shown, whole.total_near(shown), within=near, says=GIVES)
    if record.get("target"):
        target_numbers(ledger, file, record["target"], runs)


def target_numbers(ledger: Ledger, file: str, stated: Mapping[str, Any], runs: Runs) -> None:
    """Compare a target of the error, and whether it is reached, with the runs.

    Args:
        ledger: where discrepancies are noted.
        file: the file that has the record.
        stated: the record of the target.
        runs: the stored runs.
    """
    whole, near = pooled(runs, runs), rounding_of(runs)
    allowed = largest_allowed(str(stated["target_se"]), whole.value)
    ledger.number(file, "the allowed error", stated["allowed"], allowed, within=near, says=GIVES)
    if whole.se is not None and allowed is not None and abs(whole.se - allowed) > near:
        ledger.text(file, "reached", stated["reached"], whole.se <= allowed, says=GIVES)


def _debug(ledger: Ledger, file: str, record: Mapping[str, Any], runs: Runs) -> None:
    ledger.text(file, "the number of runs", len(record["runs"]), len(runs), says="stored are")
    by_order = {run.order: run for run in runs}
    for entry in record["runs"]:
        run = by_order.get((entry["B_E"], entry["run"]))
        if run is None:
            ledger.differs(file, f"has B_E {entry['B_E']} run {entry['run']}, which has no {RESULTS}")
            continue
        _copied(ledger, file, entry, run)
        scalars = {run.record["estimator"]: numbers(run.record["per_prompt"])}
        # A diagnostic of the estimator's own name is in nats per response.
        scalars |= {name: numbers(values) for name, values in (run.record.get("diagnostics") or {}).items()}
        eta = run.number("eta")
        for name, stated in entry["estimators"].items():
            values = [eta * s for s in scalars.get(name, ()) if eta is not None]
            near = ROUNDING * size(values)
            ledger.number(file, f"{name} of {run.name}", stated["mean"], mean(values), within=near)
            ledger.number(file, f"the error of {name} of {run.name}", stated["se"], standard_error(values), within=near)
        own = numbers(run.record["per_prompt"])
        shape = {"sd": spread(own), "smallest": min(own), "largest": max(own)}
        for key, value in shape.items():
            near = ROUNDING * size(own)
            ledger.number(file, f"per_prompt.{key} of {run.name}", entry["per_prompt"][key], value, within=near)


ANALYSES: dict[str, tuple[str, Callable[[Ledger, str, Mapping[str, Any], Runs], None]]] = {
    "batch_scaling": ("convergence_analysis.json", _convergence),
    "sanity_check": ("validation_summary.json", _validation),
    "single_run": ("single_test_results.json", _single),
    "debug": ("debug_report.json", _debug),
    "memory_scaling": ("memory_scaling.json", memory_scaling_numbers),
}
