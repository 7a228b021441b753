"""The figures of ``report.html``: the numbers that their axes hold, and their captions, against the runs' files."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_entropy.reports.audit import side_by_side
from pytest_entropy.reports.audit.arithmetic import line_through, mean, size, spread_within
from pytest_entropy.reports.audit.ledger import RESULTS_SAY, Ledger
from pytest_entropy.reports.audit.pages import PrintedFigure
from pytest_entropy.reports.audit.printed import MEASURE, NUMBER
from pytest_entropy.reports.audit.sizes import GIVES, by_size
from pytest_entropy.reports.audit.stored_run import StoredRun, pooled

# Drawn numbers have ten digits.
DRAWN = 1e-8
# Runs at one B_E are drawn side by side, up to 6 % from it.
BESIDE = 0.07
# A 95 % interval reaches 2 standard errors or more, up to 13 with 2 prompts, and is wider where it allows for skewness.
REACH = (1.3, 200.0)
Runs = Sequence[StoredRun]


def figure(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs, *, analysed: bool) -> None:
    """Compare a figure with the runs; a figure of another title holds no number of theirs.

    Args:
        ledger: where discrepancies are noted.
        file: the page that has the figure.
        shown: the figure.
        runs: the runs in the order of (B_E, run).
        analysed: whether the stored analysis is of these runs; else its fit is not compared.
    """
    compare = FIGURES.get(shown.title)
    if not analysed and compare is _scaling:
        panels = [{**panel, "lines": [line for line in panel["lines"] if line["label"].startswith(("runs", "mean"))]}
                  for panel in shown.panels]  # fmt: skip
        shown = replace(shown, reading="", panels=panels)
    if compare is not None:
        compare(ledger, f"{file}, figure {shown.title!r}", shown, runs)


def line_of(panel: Mapping[str, Any], beginning: str) -> list[tuple[float | None, float | None]] | None:
    """The points of the panel's line whose label begins so; None where there is none."""
    for line in panel["lines"]:
        if line["label"].startswith(beginning):
            return list(zip(line["x"], line["y"], strict=True))
    return None


def _same(ledger: Ledger, file: str, what: str, drawn: float | None, source: float | None, says: str) -> None:
    ledger.number(file, what, drawn, source, says=says, within=DRAWN * abs(source or 1.0))


def _unit(ledger: Ledger, file: str, label: str, runs: Runs) -> None:
    unit = str(runs[0].record.get("unit", "nats per response")).replace(" per ", "/")
    if unit not in label:
        ledger.differs(file, f"its axis is labelled {label!r}, {RESULTS_SAY} {unit}")


def _scaling(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    (panel,) = shown.panels
    _unit(ledger, file, panel["y"], runs)
    single, label = line_of(panel, "runs"), "runs"
    named = [(run.name, run.B_E, run.number("delta_h1"), run.number("se_conditional")) for run in runs]
    if single is None:
        label, single = "mean", line_of(panel, "mean")
        means = {B_E: pooled(of_size, runs) for B_E, of_size in by_size(runs).items()}
        named = [(f"B_E {B_E}", B_E, whole.value, whole.se) for B_E, whole in means.items()]
    points = single or []
    ledger.text(file, "the number of points", len(points), len(named), says="the runs are")
    for (x, y), (name, B_E, value, _) in zip(points, named, strict=False):
        _same(ledger, file, f"delta_h1 of {name}", y, value, RESULTS_SAY)
        ledger.number(file, f"B_E of {name}", x, float(B_E), within=BESIDE * B_E)
    # The spread of all runs' prompts, which an interval may use in place of its own run's.
    spread = spread_within([run.contributions for run in runs])
    for interval in panel["intervals"]:
        if interval["label"].startswith(label):
            for ends, (name, B_E, value, se) in zip(interval["ends"], named, strict=False):
                _interval(ledger, file, name, ends, value, [se, None if spread is None else spread / math.sqrt(B_E)])
    fit = line_through([run.B_E for run in runs], _changes(runs))
    if fit is not None:
        _fit_lines(ledger, file, panel, runs, fit)
        _fit_caption(ledger, file, shown.reading, fit)


def _interval(
    ledger: Ledger,
    file: str,
    name: str,
    ends: Sequence[Sequence[float | None]],
    value: float | None,
    errors: Sequence[float | None],
) -> None:
    """An interval holds its point, and reaches more than one standard error and not hundreds: not of another unit."""
    # A point of too few prompts has no interval.
    if not ends:
        return
    (_, low), (_, high) = ends
    if low is None or high is None or value is None or errors[0] == 0:
        return
    near = DRAWN * (abs(low) + abs(high))
    reaches = [(high - low) / 2 / error for error in errors if error]
    in_reach = any(REACH[0] <= reach <= REACH[1] for reach in reaches)
    if reaches and not (in_reach and low - near <= value <= high + near):
        words = f"the interval of {name} is {low:.6g} to {high:.6g}, {reaches[0]:.3g} standard errors to each side"
        ledger.differs(file, f"{words}, {RESULTS_SAY} {value:.6g} with the standard error {errors[0] or math.nan:.6g}")


def _changes(runs: Runs) -> list[float]:
    """delta_h1 of each run, which may be 0; NaN where it is missing."""
    return [math.nan if (change := run.number("delta_h1")) is None else change for run in runs]


def _fit_lines(ledger: Ledger, file: str, panel: Mapping[str, Any], runs: Runs, fit: tuple[float, float]) -> None:
    a, b = fit
    scale = size(_changes(runs))
    smallest = _changes([run for run in runs if run.B_E == runs[0].B_E])
    total = math.fsum(run.B_E for run in runs)
    weighted = math.fsum(run.B_E * change for run, change in zip(runs, _changes(runs), strict=True)) / total
    expected: dict[str, Callable[[float], float]] = {
        "fit a + b/B_E": lambda x: a + b / x,
        "if it converges": lambda x: weighted,
        "if it scales": lambda x: mean(smallest) * runs[0].B_E / x,
    }
    # The means that are drawn of many runs are rounded once more.
    for label, of in expected.items():
        for x, y in (line_of(panel, label) or ())[::20]:
            if x is None or y is None or label != "fit a + b/B_E" and len(runs) > 120:
                continue
            ledger.number(file, f"the line {label!r} at B_E {x:.4g}", y, of(x), within=1e-6 * scale, says=GIVES)


def _fit_caption(ledger: Ledger, file: str, reading: str, fit: tuple[float, float]) -> None:
    for name, value in zip("ab", fit, strict=True):
        found = re.search(rf"\b{name} = ({MEASURE})", reading)
        if found:
            fitted_value(ledger, file, name, found[1], value)


def fitted_value(ledger: Ledger, file: str, name: str, text: str, value: float) -> None:
    """Compare a printed a or b with the fit's; its error is compared where it is written in full.

    Args:
        ledger: where discrepancies are noted.
        file: the file that has the text.
        name: a or b.
        text: the printed measurement.
        value: by least squares.
    """
    power = re.fullmatch(r"\((\S+) ± \S+\)(e\S+)", text)
    shown = power[1] + power[2] if power else text.partition(" ± ")[0]
    ledger.printed(file, f"{name} of a + b/B_E", shown, value, says="least squares of its runs gives")


def _errors(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    (panel,) = shown.panels
    points = line_of(panel, "runs") or []
    known = {(float(run.B_E), run.number("se_conditional")): run.name for run in runs}
    positive = [(B_E, se) for B_E, se in known if se]
    if len(runs) <= 480 and len(points) != sum(1 for run in runs if run.number("se_conditional")):
        ledger.differs(file, f"has {len(points)} points, the runs with an error are {len(positive)}")
    errors: dict[float, list[float]] = {}
    for B_E, se in sorted(positive):
        errors.setdefault(B_E, []).append(se)
    for x, y in points:
        of_batch = errors.get(math.nan if x is None else x, [])
        place = bisect_left(of_batch, y or math.inf)
        # The next smaller and the next larger one are the nearest.
        if not any(abs(se - (y or math.inf)) <= DRAWN * abs(se) for se in of_batch[max(0, place - 1) : place + 1]):
            of_size = [run.name for run in runs if x == run.B_E] or ["no run"]
            ledger.differs(file, f"se_conditional at B_E {x} is {y}, which is not that of {', '.join(of_size[:3])}")
    _unit(ledger, file, panel["y"], runs)


def _scalars(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    values = [value for run in runs for value in run.contributions]
    centre = mean(values)
    sd = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
    _unit(ledger, file, shown.panels[0]["x"], runs)
    caption = re.match(rf"over (\d+) prompts, mean ({NUMBER}), sd ({NUMBER})", shown.reading)
    if caption is None:
        ledger.differs(file, f"its caption has no mean and sd: {shown.reading!r}")
        return
    ledger.text(file, "the number of prompts", int(caption[1]), len(values), says=GIVES)
    # Means of numbers that cancel are rounding.
    if abs(centre) > 1e-9 * size(values):
        ledger.printed(file, "the mean of eta s_n", caption[2], centre, says=GIVES)
    ledger.printed(file, "the sd of eta s_n", caption[3], sd, says=GIVES)
    bars = [bar for series in shown.panels[0]["bars"] for bar in series["boxes"]]
    counted = math.fsum(height for *_, height in bars)
    ledger.number(file, "the number of prompts in the histogram", counted, float(len(values)), says=GIVES)
    ordered = sorted(values)
    for left, _, width, height in bars:
        # A value at a bar's edge may be counted on either side.
        slack = 1e-6 * abs(width)
        least = bisect_left(ordered, left + width - slack) - bisect_right(ordered, left + slack)
        most = bisect_right(ordered, left + width + slack) - bisect_left(ordered, left - slack)
        if not least <= height <= most:
            ledger.differs(file, f"{height:g} prompts between {left:.6g} and {left + width:.6g}, {GIVES} {most}")


def _tail(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    values = [value for run in runs for value in run.contributions]
    centre = mean(values)
    sd = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
    kurtosis = re.search(rf"kurtosis ({NUMBER})", shown.reading)
    if kurtosis is None:
        ledger.differs(file, f"its caption has no kurtosis: {shown.reading!r}")
    elif sd > 1e-12 * size(values):
        fourth = math.fsum(((value - centre) / sd) ** 4 for value in values) / len(values)
        ledger.printed(file, "the kurtosis of eta s_n", kurtosis[1], fourth, says=GIVES)


def _p_values(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    caption = re.search(rf"smallest of (\d+) is p = ({NUMBER}) .*probability ({NUMBER})", shown.reading)
    points = next((line for line in shown.panels[0]["lines"] if line["label"] != "uniform"), None)
    if caption is None or points is None:
        return
    smallest = min(p for p in points["x"])
    ledger.text(file, "the number of p-values", int(caption[1]), len(points["x"]), says="drawn are")
    ledger.printed(file, "the smallest p-value", caption[2], smallest, says="drawn is")
    chance = 1 - (1 - smallest) ** len(points["x"])
    ledger.printed(file, "the probability of so small a p-value", caption[3], chance, says="the drawn ones give")


def _memory(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    peak = re.match(rf"peak memory of a process ({NUMBER}) MiB", shown.reading)
    if peak is None:
        ledger.differs(file, f"its caption has no memory: {shown.reading!r}")
        return
    most = max(run.number("peak_memory_mb") or math.nan for run in runs)
    ledger.printed(file, "the peak memory", peak[1], most, says=GIVES)


def _time(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    caption = re.match(rf"({NUMBER}) s for (\d+) run", shown.reading)
    if caption is None:
        ledger.differs(file, f"its caption has no time: {shown.reading!r}")
        return
    ledger.printed(file, "the time of all runs", caption[1], math.fsum(run.seconds for run in runs), says=GIVES)
    ledger.text(file, "the number of runs", int(caption[2]), len(runs), says="stored are")
    for n, (B_E, of_size) in enumerate(by_size(runs).items()):
        for series in shown.panels[0]["bars"]:
            if n < len(series["boxes"]):
                phase = [run.record["seconds"] for run in of_size]
                named = {key: key.replace("_", " ") for seconds in phase for key in seconds}
                key = next((key for key, words in named.items() if words == series["label"]), "")
                seconds = math.fsum(part[key] for part in phase if key in part) / len(of_size)
                what = f"seconds of {series['label']} at B_E {B_E}"
                _same(ledger, file, what, series["boxes"][n][2], seconds, GIVES)


def _memory_scaling(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    """The planned runs' memory and time; the probes are compared in the analysis that the figure is drawn from."""
    measured = {"memory of the process": "most_memory", "seconds of a run": "seconds_of_the_batch"}
    for panel in shown.panels:
        for label, number in measured.items():
            points = line_of(panel, label)
            if points is None:
                continue
            ledger.text(file, f"the number of points of {label}", len(points), len(runs), says="the runs are")
            for (x, y), run in zip(points, runs, strict=False):
                ledger.text(file, f"B_E of {run.name}", x, float(run.B_E))
                _same(ledger, file, f"{label}, {run.name}", y, getattr(run, number), GIVES)


def _updates(ledger: Ledger, file: str, shown: PrintedFigure, runs: Runs) -> None:
    (panel,) = shown.panels
    _unit(ledger, file, panel["y"], runs)
    along: dict[float | None, list[StoredRun]] = {}
    for run in runs:
        along.setdefault(run.number("update.fingerprint"), []).append(run)
    points = line_of(panel, "update batches") or []
    ledger.text(file, "the number of points", len(points), len(along), says="update batches of the runs are")
    for (_, y), (number, some) in zip(points, enumerate(along.values(), start=1), strict=False):
        _same(ledger, file, f"delta_h1 along update batch {number}", y, pooled(some, runs).value, RESULTS_SAY)


FIGURES: dict[str, Callable[[Ledger, str, PrintedFigure, Runs], None]] = {
    "δH₁ against B_E": _scaling,
    "δH₁ along each update batch": _updates,
    "Standard error against B_E": _errors,
    "Contributions of the prompts": _scalars,
    "Tail of the contributions": _tail,
    "p-values of the checks": _p_values,
    "Time by phase": _time,
    "Memory by phase": _memory,
    "Memory against B_E": _memory_scaling,
    "Time against B_E": _memory_scaling,
    **side_by_side.FIGURES,
}
