"""Which runs of an experiment have diagnostics at each depth, and what that costs."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.settings.diagnostics import CHECKED, LIGHT_ONE_IN, runs_with_diagnostics
from pytest_entropy.settings.model import ExperimentConfig


def config(depth: str, runs: int, **more: Any) -> ExperimentConfig:
    batch = {"B_E_values": [8], "runs_per_batch": runs}
    values = {"batch_config": batch, "diagnostics": True, "checks": {"depth": depth}, **more}
    return ExperimentConfig.model_validate(values)


def with_diagnostics(settings: ExperimentConfig) -> list[int]:
    """The runs whose probe is asked for what the sanity checks need."""
    runs = range(1, settings.batch_config.runs_per_batch + 1)
    asked = {run: settings.asked_of(run) for run in runs}
    assert all(set(CHECKED) <= set(names) or not set(CHECKED) & set(names) for names in asked.values())
    assert all(settings.probe_settings(run)["diagnostics"] == names for run, names in asked.items())
    return [run for run, names in asked.items() if "definition" in names]


@pytest.mark.parametrize("depth", ["full", "auto"])
def test_every_run_has_them_at_depth_full_and_before_auto_is_decided(depth: str) -> None:
    assert with_diagnostics(config(depth, 15)) == list(range(1, 16))
    assert not config(depth, 15).has_plain_runs


def test_at_depth_light_the_first_and_the_last_run_have_them() -> None:
    settings = config("light", 15)
    assert with_diagnostics(settings) == list(settings.diagnosed_runs) == [1, 15]
    assert settings.has_plain_runs
    # A single run has them at every depth.
    assert with_diagnostics(config("light", 1)) == [1]
    assert not config("light", 1).has_plain_runs


# A run with diagnostics takes as long as so many without, measured on the demo.
COST = 4.3


@pytest.mark.parametrize("runs", [*range(1, 40), 1000])
def test_light_costs_at_most_half_as_much_again_as_plain_runs(runs: int) -> None:
    """By the number of runs that ask for diagnostics; fewer than seven runs cost more, as one of them has to."""
    found = with_diagnostics(config("light", runs))
    assert found == sorted(set(found))
    assert found[0] == 1
    assert found[-1] == (runs if runs >= 2 * LIGHT_ONE_IN else 1)
    assert len(found) == max(1, runs // LIGHT_ONE_IN)
    if runs >= LIGHT_ONE_IN:
        assert 1 + (COST - 1) * len(found) / runs <= 1.5


def test_other_diagnostics_are_of_every_run() -> None:
    settings = config("light", 10, probe={"total_variance": True}, eta_sweep={"multiples": [-1.0, 1.0]})
    plain = settings.probe_settings(3)["diagnostics"]
    assert plain == ("total_variance", "eta_sweep")
    assert settings.probe_settings(1)["diagnostics"] == (*CHECKED, "total_variance", "eta_sweep")
    # Another run than the planned ones, as of a program's own, has what is configured.
    assert config("full", 1).asked_of(7) == CHECKED


def test_without_diagnostics_no_depth_asks_for_any() -> None:
    settings = config("light", 10, diagnostics=False)
    assert with_diagnostics(settings) == []
    assert settings.diagnosed_runs == ()
    assert not settings.has_plain_runs


def test_runs_between_are_evenly_spread() -> None:
    numbers = runs_with_diagnostics(100, "light")
    gaps = {after - before for before, after in zip(numbers, numbers[1:], strict=False)}
    assert max(gaps) - min(gaps) <= 1
