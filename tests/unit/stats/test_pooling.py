"""Means of runs along one update batch or several, and the part of the variance that their runs share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_entropy.records.item import ItemReport
from pytest_entropy.stats import Measurement, measurements, pool
from tests.present import present


def report(delta_h1: float, B_E: int, *, part: float | None = None, **more: object) -> ItemReport:
    total = None if part is None else 0.01**2 + part
    one = ItemReport(B_E=B_E, delta_h1=delta_h1, se_conditional=0.01, variance_total=total)
    return replace(one, **more)  # type: ignore[arg-type]


def test_runs_without_an_update_part_take_the_others_weighted_by_prompts() -> None:
    runs = [report(0.1, 8, part=5e-4), report(0.2, 24, part=1e-4), report(0.3, 64)]
    found = measurements(runs)
    part = (8 * 5e-4 + 24 * 1e-4) / 32
    assert [one.update_part for one in found] == [pytest.approx(part)] * 3
    assert found[2].se_total == pytest.approx((0.01**2 + part) ** 0.5)


def test_nothing_is_taken_where_no_run_has_it_and_one_run_keeps_its_own() -> None:
    assert [one.update_part for one in measurements([report(0.1, 8), report(0.2, 8)])] == [None, None]
    (alone,) = measurements([report(0.1, 8, part=-1e-5, se_total=0.02)])
    # Its larger part stands in for an estimate below it.
    assert alone.se_total == 0.02
    single = [report(0.1, 8, mode="u_statistic"), report(0.2, 8, mode="u_statistic", part=1e-4)]
    assert [one.update_part for one in measurements(single)] == [None, None]


def test_along_several_update_batches_their_part_is_divided() -> None:
    runs = [Measurement(0.1 * n, 0.01, 32, update_part=4e-4, update=float(n % 2)) for n in range(4)]
    mean = pool(runs)
    assert mean.updates == 2
    assert present(mean.se_total) ** 2 == pytest.approx(0.01**2 / 4 + 4e-4 / 2)
    assert present(mean.se_next_step) ** 2 == pytest.approx(0.01**2 / 4 + 4e-4 / 2 + 4e-4)
    assert mean.scope == "for these update batches"
    assert pool(runs[::2]).updates == 1


def test_the_next_step_adds_the_update_part_once_more() -> None:
    one = Measurement(0.1, 0.01, 64, update_part=4e-4, update_prompts=64)
    assert present(one.se_next_step) ** 2 == pytest.approx(0.01**2 + 2 * 4e-4)
    # A negative estimate adds nothing.
    assert replace(one, update_part=-1e-6).se_next_step == replace(one, update_part=-1e-6).se_total == 0.01
    assert replace(one, update_part=None).se_next_step is None
    assert replace(one, single_batch=True).ci_next_step(0.95) is None


def test_less_certain_or_skewed_update_parts_widen_the_interval() -> None:
    one = Measurement(0.1, 0.01, 64, update_part=4e-4, update_prompts=64)

    def width(measured: Measurement) -> tuple[float, float]:
        low, high = present(measured.ci_total(0.95))
        return measured.value - low, high - measured.value

    below, above = width(one)
    assert below == pytest.approx(above)
    assert width(replace(one, update_error=2e-4))[0] > 1.02 * below
    skewed = width(replace(one, update_skew=2.0))
    # A long tail above: the mean may lie further above the value than below it.
    assert skewed[1] > 1.1 * above > skewed[0]
    few = replace(one, update_prompts=16)
    assert few.ci_total(0.95) is None
    assert few.ci_next_step(0.95) is None


def test_the_next_steps_interval_holds_the_next_step() -> None:
    """Normal parts in ten dimensions; 95 % of 2000 sessions, within 4 of its standard errors."""
    rng, held = np.random.default_rng(5), []
    mean_x, mean_y, B_E, B_U = np.eye(10)[0], np.eye(10)[0] + 0.3 * np.eye(10)[1], 64, 48
    for _ in range(2000):
        x, y = mean_x + rng.standard_normal((B_E, 10)), mean_y + rng.standard_normal((B_U, 10))
        s = x @ y.mean(0)
        part = 1 / B_U
        one = Measurement(float(s.mean()), float(s.std(ddof=1) / 8), B_E, update_part=part, update_prompts=B_U)
        low, high = present(one.ci_next_step(0.95))
        held.append(low <= mean_x @ (mean_y + rng.standard_normal(10) / B_U**0.5) <= high)
    assert abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5 + 0.005
