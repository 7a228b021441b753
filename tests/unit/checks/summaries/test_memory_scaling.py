"""Flat or not by counted bytes, lines by least squares, and forecasts from the smaller runs, by whatever function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_entropy.checks.summaries.memory_scaling import (
    TABLE_BYTES,
    Cost,
    CostFit,
    MemoryScaling,
    conclusion,
    flatness,
    memory_scaling,
)
from pytest_entropy.records.memory_probe import Axis, MemoryProbe, MemoryProbes
from pytest_entropy.records.run import RunRecord
from tests.unit.reports.stored import result


def probe(axis: Axis, peak: float, *, B_E: int = 2, G: int = 8, length: int = 32, **more: Any) -> MemoryProbe:
    return MemoryProbe(axis=axis, B_E=B_E, G=G, max_new_tokens=length, length_mean=length / 2, peak_mb=peak, **more)


def against_B_E(*costs: tuple[int, float]) -> list[MemoryProbe]:
    return [probe("B_E", peak, B_E=B_E) for B_E, peak in costs]


OTHERS = [
    *(probe("G", 1 + 2.0 * G, G=G, seconds=0.5 + 0.1 * G) for G in (2, 4, 8)),
    *(probe("length", 1 + 0.5 * length, length=length, seconds=0.1 * length) for length in (8, 16, 32)),
]


def runs() -> list[RunRecord]:
    return [result(B_E, 1, np.ones(B_E), seconds={"sampling": 0.01 * B_E, "self_check": 9.0}) for B_E in (16, 32, 64)]


def analysed(probes: Sequence[MemoryProbe], **more: Any) -> MemoryScaling:
    return memory_scaling(runs(), MemoryProbes(counted="counted", probes=[*probes, *OTHERS]), **more)


def fit_of(analysis: MemoryScaling, axis: str, quantity: str, source: str) -> CostFit:
    (fit,) = [f for f in analysis.fits if (f.axis, f.quantity, f.source) == (axis, quantity, source)]
    return fit


def test_memory_that_stays_is_flat() -> None:
    outcome = flatness(against_B_E((16, 50.0), (64, 51.0)))
    assert outcome.verdict == "pass"
    assert outcome.effect == pytest.approx((1 / 48 - 8 * 32 * TABLE_BYTES / 2**20) / (50 / 16))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_memory_that_grows_is_not_flat(share: float) -> None:
    outcome = flatness(against_B_E((16, 50.0), (64, 50.0 + share * 3 * 50.0)))
    assert outcome.verdict == "fail"
    assert outcome.effect == pytest.approx(share, abs=0.01)


def test_the_tables_of_the_results_may_grow() -> None:
    tables = 48 * 8 * 32 * TABLE_BYTES / 2**20
    assert flatness(against_B_E((16, 0.1), (64, 0.1 + tables))).effect == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("sizes", [(), (16,), (4, 64), (16, 32)])
def test_sizes_that_cannot_tell_are_inconclusive(sizes: tuple[int, ...]) -> None:
    outcome = flatness(against_B_E(*((B_E, 50.0) for B_E in sizes)))
    assert outcome.verdict == "inconclusive"
    assert "--be-values" in outcome.reason


def test_lines_and_what_the_smaller_runs_forecast() -> None:
    analysis = analysed(against_B_E((16, 50.0), (64, 50.0)))
    assert [run.B_E for run in analysis.runs] == [16, 32, 64]
    assert [run.seconds for run in analysis.runs] == pytest.approx([9.16, 9.32, 9.64])
    assert [run.memory_mb for run in analysis.runs] == [816.0, 832.0, 864.0]
    of_G = fit_of(analysis, "G", "memory", "probes")
    assert [of_G.intercept, of_G.slope, of_G.forecast] == pytest.approx([1.0, 2.0, 17.0])
    # Without the self-check.
    seconds = fit_of(analysis, "B_E", "seconds", "runs")
    assert [seconds.slope, seconds.forecast, seconds.seen] == pytest.approx([0.01, 0.64, 0.64])
    # Against the lengths that came about.
    assert fit_of(analysis, "length", "seconds", "probes").slope == pytest.approx(0.2)
    assert fit_of(analysis, "B_E", "memory", "probes").forecast is None, "one smaller run makes no line"
    verdict, reason = conclusion(analysis)
    assert verdict == "flat in B_E"
    assert reason.startswith("peak memory stays level from B_E 16 to 64; one more prompt costs 10 ms, ")
    assert "one more response to each costs 2 MiB" in reason
    assert reason.endswith("of what the smaller ones forecast")


def test_growth_is_said_in_percent_and_a_slope_below_nought_not_at_all() -> None:
    analysis = analysed(against_B_E((16, 50.0), (64, 80.0)))
    assert "% of growth in proportion to B_E from B_E 16 to 64" in conclusion(analysis)[1]
    falling = replace(analysis, fits=[replace(fit, slope=-0.01) for fit in analysis.fits])
    assert "costs" not in conclusion(falling)[1]


def test_another_forecast_sees_the_sizes_of_the_run_and_of_those_before() -> None:
    asked = []

    def planner(smaller: Sequence[Cost], target: Cost) -> float | None:
        asked.append((target.axis, target.quantity, target.B_E, target.G, target.max_new_tokens, len(smaller)))
        return 2 * target.x if target.quantity == "memory" else None

    analysis = analysed(against_B_E((16, 50.0), (64, 50.0)), forecast=planner)
    assert ("B_E", "memory", 64, 8, 32, 2) in asked
    assert ("length", "memory", 2, 8, 32, 2) in asked
    of_G = fit_of(analysis, "G", "memory", "probes")
    assert [of_G.forecast, of_G.seen_over_forecast] == pytest.approx([16.0, 17 / 16])
    assert fit_of(analysis, "G", "seconds", "probes").forecast is None


@pytest.mark.parametrize(("peak", "word"), [(200.0, "grows with B_E"), (50.0, "flat in B_E")])
def test_the_verdict_is_the_checks(peak: float, word: str) -> None:
    assert conclusion(analysed(against_B_E((16, 50.0), (64, peak))))[0] == word
    assert conclusion(analysed(against_B_E((16, 50.0))))[0] == "inconclusive"
