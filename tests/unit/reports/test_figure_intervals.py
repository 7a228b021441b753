"""The bars of the figures are the intervals of ``stats.intervals``, and there are none with too few prompts."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from matplotlib.axes import Axes

from pytest_entropy.reports.figures.eta_sweep import eta_sweep_figure
from pytest_entropy.reports.figures.scaling import run_intervals, scaling_figure
from pytest_entropy.reports.plot import bars
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.stats import Measurement
from pytest_entropy.stats.intervals import PromptPool
from tests.present import present
from tests.unit.reports.stored import result, scalars, store_experiment


def legend_of(view: ExperimentView) -> list[str]:
    """Labels that the figure against B_E gives to what it draws with bars."""
    with patch.object(Axes, "errorbar", autospec=True, side_effect=Axes.errorbar) as drawn:
        assert scaling_figure(view) is not None
    return [call.kwargs["label"] for call in drawn.call_args_list]


def test_bars_reach_to_the_ends_and_are_not_drawn_without_an_interval() -> None:
    drawn = bars([1.0, 2.0], [(0.5, 1.25), None])
    assert drawn[:, 0].tolist() == [0.5, 0.25]
    assert np.isnan(drawn[:, 1]).all()
    assert bars([], []).shape == (2, 0)


def test_runs_of_one_experiment_share_their_spread() -> None:
    rng = np.random.default_rng(0)
    runs = [result(B_E, n, scalars(rng, B_E)) for n, B_E in enumerate((8, 8, 8, 32, 32), start=1)]
    pool = PromptPool.of([run.eta * np.asarray(run.per_prompt) for run in runs])
    for run, ends in zip(runs, run_intervals(runs), strict=True):
        low, high = present(ends)
        assert low < run.delta_h1 < high
        sizes = np.array([float(run.B_E)])
        assert (low, high) == pool.sum_interval(run.delta_h1, np.ones(1), sizes, confidence=0.95)
    assert run_intervals(runs[:3]) == [None] * 3


def test_a_single_batchs_runs_have_their_own_errors() -> None:
    """Each draws its own update, so that they share no distribution."""
    rng = np.random.default_rng(0)
    runs = [result(B_E, n, scalars(rng, B_E), mode="u_statistic") for n, B_E in enumerate((8, 64), start=1)]
    assert run_intervals(runs) == [None, Measurement.of(runs[1]).with_skew_of(runs[1].per_prompt).ci(0.95)]


def test_the_legend_says_whether_there_are_intervals(tmp_path: Path) -> None:
    assert legend_of(view_experiment(store_experiment(tmp_path / "a"))) == ["runs, 95 % CI, this U"]
    few = view_experiment(store_experiment(tmp_path / "b", sizes=(4, 8), runs=1))
    assert legend_of(few) == ["runs, no interval, this U"]
    many = view_experiment(store_experiment(tmp_path / "c", sizes=(4, 8), runs=61))
    assert legend_of(many) == ["mean of 61 runs, 95 % CI, this U"]


@pytest.mark.parametrize("known", [True, False])
def test_the_sweeps_bars_are_its_intervals(tmp_path: Path, known: bool) -> None:
    ends = [-150.0, -120.0] if known else None
    sweep = {
        "points": [{"eta": 2e-4, "slope": -138.0, "se": 6.0, "interval": ends}], "intercept": -138.0,
        "intercept_se": 5.0, "intercept_interval": ends, "delta_h1_over_eta": -137.0, "confidence": 0.95,
    }  # fmt: skip
    view = view_experiment(store_experiment(tmp_path, analysis={"verdict": "measured", "eta_sweep": sweep}))
    with patch.object(Axes, "errorbar", autospec=True, side_effect=Axes.errorbar) as drawn:
        assert eta_sweep_figure(view) is not None
    assert len(drawn.call_args_list) == 2
    for call in drawn.call_args_list:
        reach = np.asarray(call.kwargs["yerr"])[:, 0]
        assert reach.tolist() == [12.0, 18.0] if known else np.isnan(reach).all()
    label = drawn.call_args_list[0].kwargs["label"]
    assert label == ("ΔH(η)/η, 95 % CI, this U" if known else "ΔH(η)/η, no interval, this U")
