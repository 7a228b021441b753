"""A target of the error at planning: the experiments that take it, and the most runs."""

from __future__ import annotations

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.runs.target_plan import MOST, with_target, without_idle_runs
from pytest_entropy.settings.experiments import KNOWN, kind_of
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config

RUNS = Layer("--runs", {"batch_config": {"runs_per_batch": 12}})
TARGET = Layer("--entropy-target-se", {"batch_config": {"target_se": "10%"}})
ONE_SIZE = Layer("--be", {"batch_config": {"B_E_values": [8]}})


def configured(name: str, *layers: Layer) -> ResolvedConfig:
    return resolve_config([Layer("built-in default", dict(kind_of(name).defaults)), *layers])


@pytest.mark.parametrize(
    ("name", "layers", "kept"),
    [
        ("single_run", [RUNS], False),
        ("single_run", [RUNS, TARGET], True),
        ("single_run", [RUNS, TARGET, Layer("--entropy-set", {"batch_config": {"target_se": None}})], False),
        ("debug", [RUNS, TARGET], False),
        ("sanity_check", [RUNS], True),
        ("own", [RUNS], True),
    ],
)
def test_the_number_of_runs_applies_to_a_single_run_with_a_target(name: str, layers: list[Layer], kept: bool) -> None:
    found = without_idle_runs(kind_of(name), [ONE_SIZE], layers)
    assert found == (layers if kept else layers[1:])


def test_a_target_in_a_layer_below_counts() -> None:
    assert without_idle_runs(kind_of("single_run"), [TARGET], [RUNS]) == [RUNS]


@pytest.mark.parametrize("name", ["single_run", "own"])
def test_without_a_number_of_runs_there_are_at_most_sixteen(name: str) -> None:
    resolved, notes = with_target(kind_of(name), configured(name, ONE_SIZE, TARGET))
    assert resolved.config.batch_config.runs_per_batch == MOST == 16
    assert "most where batch_config.target_se is set" in resolved.sources["batch_config.runs_per_batch"]
    assert notes == ()
    given, _ = with_target(kind_of(name), configured(name, ONE_SIZE, TARGET, RUNS))
    assert given.config.batch_config.runs_per_batch == 12
    assert given.sources["batch_config.runs_per_batch"] == "--runs"


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"single_run"}))
def test_experiments_that_compare_runs_take_no_target_and_say_so(name: str) -> None:
    before, why = configured(name, TARGET), f"not for {name}, whose number of runs is fixed"
    resolved, (note,) = with_target(kind_of(name), before)
    assert resolved.config.batch_config.target_se is None
    assert resolved.digest() == configured(name).digest()
    assert resolved.sources["batch_config.target_se"] == f"--entropy-target-se: {why}"
    assert note == f"  target of the error: {why}"


def test_without_a_target_nothing_changes() -> None:
    before = configured("single_run")
    assert with_target(kind_of("single_run"), before) == (before, ())


def test_a_target_needs_one_size() -> None:
    with pytest.raises(UsageError, match="^--entropy-target-se: .* and own has 16, 32, 64: give --be-values"):
        with_target(kind_of("own"), configured("own", TARGET))
