"""The depth that planning decides on, which runs have diagnostics then, and what is resumed at another depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checks.estimator_agreement import CHECK as estimator_agreement
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.reports.terminal import plan_line, step_lines
from pytest_entropy.runs import depth as depth_module
from pytest_entropy.runs.depth import LARGE, with_depth
from pytest_entropy.runs.execution import Execution
from pytest_entropy.runs.executors.local import Local
from pytest_entropy.runs.machine import Machine
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.planner import Planner, SessionRequest
from pytest_entropy.settings.diagnostics import CHECKED
from pytest_entropy.settings.experiments import kind_of
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config
from tests.length_reward import length
from tests.unit.checks.registered import CHECKS, judged


def configured(name: str, depth: str | None = None, **more: Any) -> ResolvedConfig:
    given = [] if depth is None else [Layer("--entropy-set", {"checks": {"depth": depth}})]
    return resolve_config([Layer("kind", dict(kind_of(name).defaults)), *given, Layer("test", more)])


def not_read() -> int:
    raise AssertionError("the model's size is read for auto alone")


@pytest.mark.parametrize(
    ("name", "given", "size", "expected"),
    [
        ("sanity_check", None, LARGE - 1, "full"),
        ("sanity_check", None, LARGE, "light"),
        ("sanity_check", None, None, "full"),
        ("sanity_check", "light", 10, "light"),
        ("sanity_check", "full", 10 * LARGE, "full"),
        ("debug", None, 10 * LARGE, "full"),
        ("debug", "light", 10 * LARGE, "full"),
        ("my_own", None, 10 * LARGE, "full"),
        ("my_own", "light", 10, "light"),
    ],
)
def test_auto_is_light_in_the_sanity_check_of_a_large_model(
    name: str, given: str | None, size: int | None, expected: str
) -> None:
    resolved = with_depth(kind_of(name), configured(name, given, diagnostics=True), lambda: size)
    assert resolved.config.checks.depth == expected
    # The source says why, unless the value is the user's own.
    source = resolved.sources["checks.depth"]
    kept = given == expected and name != "debug"
    assert (source == "--entropy-set") == kept
    assert kept or "auto" in source or "every run of debug" in source


def test_the_size_of_the_model_is_read_for_auto_alone() -> None:
    for name, given in (("sanity_check", "light"), ("debug", None), ("my_own", None)):
        with_depth(kind_of(name), configured(name, given, diagnostics=True), not_read)
    plain = configured("batch_scaling")
    assert with_depth(kind_of("batch_scaling"), plain, not_read) is plain
    with pytest.raises(AssertionError, match="for auto alone"):
        with_depth(kind_of("sanity_check"), configured("sanity_check"), not_read)


# ---------------------------------------------------------------------- planned on a checkpoint


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(1)


def plan(checkpoint: Path, results: Path, depth: str = "auto", *, resume: bool = False, runs: int = 14) -> Plan:
    values = {
        "checkpoint": str(checkpoint), "batch_config": {"B_E_values": [6], "runs_per_batch": runs, "B_U": 4, "G": 3},
        "sampling": {"max_new_tokens": 6}, "checks": {"depth": depth},
        "reward": "length", "probe": {"total_variance": "none"},
    }  # fmt: skip
    layers = [Layer("test", values)]
    request = SessionRequest(
        root=results, results=results, resume=resume, layers=lambda kind: layers, find_reward=lambda name: length
    )
    planner = Planner(request, "2026-01-01_00-00-00")
    return planner.plan("sanity_check", results / "test_sanity_check.py")


def test_planning_reads_the_size_from_the_files(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = plan(checkpoint, tmp_path)
    assert small.resolved.config.checks.depth == "full"
    assert ", depth full" in plan_line(small)
    # The tiny model has some ten thousand parameters.
    monkeypatch.setattr(depth_module, "LARGE", 10_000)
    large = plan(checkpoint, tmp_path)
    assert large.resolved.config.checks.depth == "light"
    assert ", depth light (diagnostics in 2 of 14 runs)" in plan_line(large)
    assert "parameters, light from" in large.resolved.sources["checks.depth"]
    assert "depth: light" in large.resolved.to_yaml()
    assert large.config_digest != small.config_digest == plan(checkpoint, tmp_path, "full").config_digest


def test_a_place_measures_with_and_without_diagnostics_on_one_checkpoint(
    checkpoint: Path, tmp_path: Path, machine: Machine
) -> None:
    light = Execution(plan(checkpoint, tmp_path, "light"), machine, Local(), 20)
    first, other = light.spec(6, 1), light.spec(6, 2)
    assert first.settings == other.settings
    # A run without diagnostics comes first, as in a worker; what it leaves changed is seen by the next one with them.
    plain, full = light.place.probe(other), light.place.probe(first)
    assert (plain.config.diagnostics, full.config.diagnostics) == ((), CHECKED)
    assert plain.policy.model is full.policy.model
    assert light.place.probe(light.spec(6, 3)) is plain
    assert light.place.probe(light.spec(6, 14)) is light.probe is full
    sent = RunSpec.from_dict(other.to_dict())
    assert light.place.probe(sent) is plain


@pytest.fixture(scope="module")
def light_runs(
    checkpoint: Path, machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[RunRecord]]:
    """The results directory of a light sanity check of 14 runs, and its runs, the last without diagnostics first."""
    results = tmp_path_factory.mktemp("light")
    light = Execution(plan(checkpoint, results, "light"), machine, Local(), 20)
    light.run(6, 13)
    return results, [light.run(B_E, run)[0] for B_E, run in light.plan.runs]


def test_runs_are_asked_for_what_the_depth_gives_them(light_runs: tuple[Path, list[RunRecord]]) -> None:
    _, runs = light_runs
    assert {run.run: run.asked for run in runs} == {n: list(CHECKED) if n in (1, 14) else [] for n in range(1, 15)}
    for run in runs:
        assert bool(set(run.diagnostics) - {run.estimator}) == ("ranks" in run.arrays) == bool(run.asked)
        assert (run.agreement.definition is None) == (run.state_changed is None) == (not run.asked)
        assert run.agreement.log_probs is not None
        # The update is the one of a run with diagnostics, whichever run came first.
        assert run.update.loss_slope_gap is not None
    assert [run.state_changed for run in runs if run.asked] == [[], []]


def test_a_run_has_the_same_numbers_with_and_without_diagnostics(
    checkpoint: Path, tmp_path: Path, machine: Machine, light_runs: tuple[Path, list[RunRecord]]
) -> None:
    full, _ = Execution(plan(checkpoint, tmp_path, "full"), machine, Local(), 20).run(6, 2)
    light = light_runs[1][1]
    assert (full.asked, light.asked) == (list(CHECKED), [])
    assert full.prompts == light.prompts
    assert full.seed == light.seed
    assert light.delta_h1 == pytest.approx(full.delta_h1, rel=1e-4)
    assert light.length_mean == full.length_mean


def test_checks_look_at_the_runs_that_have_what_they_judge(light_runs: tuple[Path, list[RunRecord]]) -> None:
    _, runs = light_runs
    with_diagnostics = [run for run in runs if run.asked]
    plain = [run for run in runs if not run.asked]
    for name, check in CHECKS.items():
        if check.asks:
            assert judged(name, runs) == judged(name, with_diagnostics), name
            nothing = judged(name, plain)
            assert nothing.verdict == "inconclusive", name
            assert f"none of 12 runs was asked for the diagnostic {check.asks[0]}" in nothing.message()
            assert "checks.depth" in nothing.message()
    # Of the sampler's record, and of runs among each other, all runs are judged.
    assert judged("sampler_scorer_agreement", runs).n > judged("sampler_scorer_agreement", with_diagnostics).n
    assert judged("se_calibration", runs).n > judged("se_calibration", with_diagnostics).n
    assert [name for name in CHECKS if judged(name, runs).verdict == "fail"] == []


def test_a_number_missing_in_a_run_that_was_asked_is_no_pass(light_runs: tuple[Path, list[RunRecord]]) -> None:
    _, runs = light_runs
    own = [{run.estimator: run.diagnostics[run.estimator]} for run in runs]
    lacking = [replace(run, diagnostics=alone) for run, alone in zip(runs, own, strict=True)]
    for name in ("score_identity", "estimator_agreement", "first_order_accuracy"):
        outcome = judged(name, lacking)
        assert outcome.verdict == "inconclusive"
        assert "B_E 6 run 1 has no diagnostics." in outcome.message()
    unknown = [replace(runs[0], asked=None), *runs[1:]]
    assert "does not say which diagnostics were asked for" in judged(estimator_agreement, unknown).message()


def test_a_fault_of_plain_runs_alone_is_seen_by_what_looks_at_all_runs(
    light_runs: tuple[Path, list[RunRecord]],
) -> None:
    _, runs = light_runs
    faulty = [run if run.asked else replace(run, delta_h1=run.delta_h1 / run.B_E) for run in runs]
    assert judged("delta_h1_is_mean", runs).verdict == "pass"
    assert judged("delta_h1_is_mean", faulty).verdict == "fail"
    copied = [runs[0], *(replace(run, seed=runs[0].seed) for run in runs[1:2]), *runs[2:]]
    assert judged("runs_independent", copied).verdict == "fail"


def test_the_same_depth_is_resumed_and_another_is_begun_anew(
    checkpoint: Path, machine: Machine, light_runs: tuple[Path, list[RunRecord]]
) -> None:
    results, runs = light_runs
    again = plan(checkpoint, results, "light", resume=True)
    assert again.resumed
    resumed = Execution(again, machine, Local(), 20)
    records = [resumed.run(6, number) for number in (1, 2)]
    assert [stored for _, stored in records] == [True, True]
    assert [record.asked for record, _ in records] == [runs[0].asked, runs[1].asked]
    other = plan(checkpoint, results, "full", resume=True)
    assert not other.resumed
    assert other.superseded == f"{again.directory.name} was measured at another checks.depth, now full"
    assert any("not resumed" in line and "checks.depth" in line for line in step_lines(other))
    # auto is what it stands for: full here.
    assert plan(checkpoint, results, "auto", resume=True).config_digest == other.config_digest
    # Another number of runs is another experiment for other reasons.
    assert plan(checkpoint, results, "full", resume=True, runs=15).superseded == ""
