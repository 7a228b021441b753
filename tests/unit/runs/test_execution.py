"""One update batch for all experiments of a session, and for all runs of an experiment, whoever began it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from pytest_entropy.checkpoints import find_checkpoint
from pytest_entropy.checkpoints.metadata import read_metadata
from pytest_entropy.policy.rollouts import COLUMNS
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.update.source import UpdateSource
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.rewards import RewardTerm, WeightedRewards
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.runs import execution
from pytest_entropy.runs.compute import compute_update
from pytest_entropy.runs.execution import Execution
from pytest_entropy.runs.executors.local import Local
from pytest_entropy.runs.machine import Machine
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.run_files import read_run
from pytest_entropy.runs.shared_updates import remove_unused
from pytest_entropy.runs.store import FailedRun
from pytest_entropy.settings.experiments import KNOWN, kind_of
from pytest_entropy.settings.layers import Layer, resolve_config
from tests.length_reward import length
from tests.present import present

PROMPTS = [Prompt(f"Tom has {i} apples and buys {i % 7} more.", {"answer": str(i + i % 7)}) for i in range(60)]
SIZES = {"batch_scaling": [4, 6], "sanity_check": [6], "single_run": [4], "debug": [4, 5], "memory_scaling": [4]}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(1)


@pytest.fixture
def begin(checkpoint: Path, machine: Machine, tmp_path: Path) -> Callable[..., Execution]:
    """An experiment of a session in ``tmp_path``, as planning hands it over."""
    files = find_checkpoint(checkpoint)
    metadata = read_metadata(files)

    def begin(name: str, *, reward: PlainReward = length, **more: object) -> Execution:
        kind = kind_of(name)
        batch = {"B_E_values": SIZES[name], "runs_per_batch": 2, "B_U": 4, "G": 3, **more}
        template = {key: value for key, value in kind.defaults.items() if key != "batch_config"}
        own = {"checkpoint": str(checkpoint), "batch_config": batch, "sampling": {"max_new_tokens": 6}}
        plan = Plan(
            kind, resolve_config([Layer("kind", template), Layer("test", own)]), files, metadata, files.digest(),
            "c" * 16, PROMPTS, WeightedRewards((RewardTerm(reward, "length"),)), tmp_path / kind.category / name,
            "2026-01-01_00-00-00", False, inputs_digest=reward.__name__,
        )  # fmt: skip
        return Execution(plan, machine, Local(), 20)

    return begin


def record_of_update(of: Execution) -> dict[str, Any]:
    assert of.update_of(1).direction
    record: dict[str, Any] = json.loads((of.plan.directory / "update" / "update.json").read_text())
    return record


def test_all_experiments_of_a_session_take_the_same_update_batch(begin: Callable[..., Execution]) -> None:
    records = {name: record_of_update(begin(name)) for name in KNOWN}
    assert len(records) == 5
    first = records["batch_scaling"]
    assert first["fingerprint"]
    assert len(first["prompts"]) == 4
    for name, record in records.items():
        for key in ("seed", "prompts", "rewards", "fingerprint", "direction_norm", "eta"):
            assert record[key] == first[key], (name, key)
    # The sanity check measures more of U, so that another experiment's record is none for it.
    assert records["sanity_check"]["loss_slope_gap"] is not None
    assert first["loss_slope_gap"] is None


def test_an_update_is_computed_once_with_its_second_computations_and_once_without(
    begin: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def compute(spec: RunSpec, *arguments: Any, **named: Any) -> Update:
        computed.append(spec.experiment)
        return compute_update(spec, *arguments, **named)

    monkeypatch.setattr(execution, "compute_update", compute)
    for name in KNOWN:
        begin(name).update_of(1)
    assert len(computed) == 2
    assert {"batch_scaling", "sanity_check"} == set(computed)
    shutil.rmtree(begin("single_run").plan.directory)
    again = begin("single_run")
    assert again.run(4, 1)[0].update.fingerprint == again.update_of(1).fingerprint
    assert "was computed before" in (again.plan.directory / "update" / "probe_log.txt").read_text()
    shutil.rmtree(begin("debug").plan.directory)
    begin("debug", G=2).update_of(1)
    assert computed[2:] == ["debug"]


@pytest.mark.parametrize("resumed", [False, True])
def test_another_sessions_update_is_taken_with_resume_only(
    begin: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    """Code that another plugin changes in memory is in no digest."""
    first = begin("batch_scaling").update_of(1)
    direction = UpdateSource.take

    def turned(self: UpdateSource, *arguments: Any) -> Update:
        found = direction(self, *arguments)
        return replace(found, direction={name: -u for name, u in found.direction.items()})

    monkeypatch.setattr(UpdateSource, "take", turned)
    later = begin("single_run")
    later = Execution(replace(later.plan, stamp="2026-01-02_00-00-00", resumed=resumed), Machine(1), Local(), 20)
    for name, u in later.update_of(1).direction.items():
        assert torch.equal(u, first.direction[name] if resumed else -first.direction[name])


@pytest.mark.parametrize("damage", ["killed", "not JSON", "no direction"])
def test_a_damaged_entry_is_computed_again(begin: Callable[..., Execution], damage: str, tmp_path: Path) -> None:
    first = record_of_update(begin("batch_scaling"))
    (entry,) = (tmp_path / "update_batches").glob("[!.]*")
    if damage == "killed":
        entry.rename(entry.with_name(f".{entry.name}.partial"))
    elif damage == "not JSON":
        (entry / "update.json").write_text("{")
    else:
        (entry / "direction.safetensors").unlink()
    assert record_of_update(begin("single_run"))["fingerprint"] == first["fingerprint"]
    assert [place.name for place in (tmp_path / "update_batches").glob("*") if place.name != ".locks"] == [entry.name]


def test_entries_that_no_experiment_uses_are_removed(begin: Callable[..., Execution], tmp_path: Path) -> None:
    one, other = begin("batch_scaling"), begin("single_run", G=2)
    fingerprints = [record_of_update(of)["fingerprint"] for of in (one, other)]
    shutil.rmtree(other.plan.directory)
    remove_unused(tmp_path)
    (entry,) = (tmp_path / "update_batches").glob("[!.]*")
    assert json.loads((entry / "update.json").read_text())["fingerprint"] == fingerprints[0]
    shutil.rmtree(one.plan.directory)
    remove_unused(tmp_path)
    assert not list((tmp_path / "update_batches").glob("[!.]*"))


def test_runs_are_spread_over_several_update_batches(begin: Callable[..., Execution]) -> None:
    two = begin("single_run", updates=2)
    assert two.plan.runs == [(4, 1), (4, 2), (4, 3), (4, 4)]
    records = [two.run(4, number)[0] for number in (1, 2, 3, 4)]
    fingerprints = [record.update.fingerprint for record in records]
    assert fingerprints[:2] == fingerprints[2:]
    assert fingerprints[0] != fingerprints[1]
    assert [record.update.seed for record in records[:2]] == [two.update_seed(1), two.update_seed(2)]
    assert [record.se_total is not None for record in records] == [True, True, False, False]
    assert (two.plan.directory / "update_002" / "update.json").is_file()
    # The first is that of a session with one.
    assert begin("debug").update_of(1).fingerprint == fingerprints[0]


def test_a_stored_updates_responses_are_those_it_was_taken_on(begin: Callable[..., Execution]) -> None:
    update = begin("batch_scaling").update_of(1)
    here = begin("batch_scaling")
    drawn = here.probe.updates.batch(replace(update, rollouts=None)).rollouts
    stored = present(update.rollouts)
    assert stored.prompt_ids == drawn.prompt_ids
    for name in COLUMNS:
        assert torch.equal(getattr(stored, name), getattr(drawn, name)), name


def test_another_size_is_another_update_batch(begin: Callable[..., Execution]) -> None:
    four, five = record_of_update(begin("batch_scaling")), record_of_update(begin("debug", B_U=5))
    assert five["seed"] == four["seed"]
    assert five["prompts"] != four["prompts"]
    assert five["fingerprint"] != pytest.approx(four["fingerprint"], rel=1e-3)


def test_entropy_batches_are_the_experiments_own_and_never_the_updates(begin: Callable[..., Execution]) -> None:
    runs = {name: begin(name).run(4, 1)[0] for name in ("batch_scaling", "single_run", "debug")}
    assert len({run.seed for run in runs.values()}) == 3
    assert len({tuple(run.per_prompt) for run in runs.values()}) == 3
    assert {run.update.fingerprint for run in runs.values()} == {runs["debug"].update.fingerprint}
    assert all(run.agreement.shared_with_update == 0 for run in runs.values())
    for name, run in runs.items():
        assert run.seed == derive(derive(0, name), "E", 4, 1), "as before"


@pytest.fixture
def begun_before(begin: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch) -> Execution:
    """An experiment one of whose runs is stored by the code that drew each experiment's own update batch."""
    with monkeypatch.context() as patched:
        patched.setattr(Execution, "update_seed", lambda self, number: self.seed)
        before = begin("batch_scaling")
        result, _ = before.run(4, 1)
    assert result.update.seed == derive(0, "batch_scaling")
    return before


@pytest.mark.parametrize("kept", [True, False], ids=["update stored", "update removed"])
def test_a_directory_begun_with_another_update_batch_goes_on_with_it(
    begin: Callable[..., Execution], begun_before: Execution, kept: bool
) -> None:
    place = begun_before.plan.directory / "update"
    recorded = json.loads((place / "update.json").read_text())
    if not kept:
        shutil.rmtree(place)
    resumed = begin("batch_scaling")
    results = [result for _, _, result in resumed.each_run() if not isinstance(result, FailedRun)]
    assert len(results) == 4
    assert [result.update.seed for result in results] == [derive(0, "batch_scaling")] * 4
    assert {result.update.fingerprint for result in results} == {recorded["fingerprint"]}


def test_a_batch_redrawn_for_the_total_variance_is_the_one_the_update_was_taken_on(
    begin: Callable[..., Execution], begun_before: Execution
) -> None:
    update = begin("batch_scaling").update_of(1)
    batch = begin("batch_scaling").probe.updates.batch(update)
    assert list(batch.keys) == update.prompts
    assert batch.seed == update.seed == derive(0, "batch_scaling")


def test_runs_along_an_update_batch_that_cannot_be_had_again_are_not_continued(
    begin: Callable[..., Execution], begun_before: Execution
) -> None:
    shutil.rmtree(begun_before.plan.directory / "update")
    other = begin("batch_scaling", reward=lambda prompts, completions, **columns: [float(len(t)) for t in completions])
    with pytest.raises(FailedRun, match="sampled again it differs in its rewards, direction .*without --resume"):
        other.run(6, 1)


@pytest.mark.parametrize("text", ["{", "[]", '{"update": {}}'])
def test_a_stored_run_that_cannot_be_read_says_nothing_of_the_update(
    begin: Callable[..., Execution], begun_before: Execution, text: str
) -> None:
    directory: Path = begun_before.plan.directory
    (directory / "BE004_run001" / "results.json").write_text(text)
    assert begin("batch_scaling").update_seed(1) == derive(0, execution.UPDATE_SEED)


def test_a_stored_run_is_read_once_as_long_as_its_file_stays(
    begin: Callable[..., Execution], begun_before: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_before.run(4, 2)
    reading = Mock(wraps=read_run)
    monkeypatch.setattr("pytest_entropy.runs.execution.read_run", reading)
    resumed = begin("batch_scaling")
    stored = {number: resumed.run(4, number) for number in (1, 2, 1, 2)}
    assert [call.args[0].name for call in reading.call_args_list] == ["BE004_run001", "BE004_run002"]
    assert all(was_stored for _, was_stored in stored.values())
    # One update stands behind all runs; memory holds it once.
    assert stored[1][0].update is stored[2][0].update
    file = resumed.plan.directory / "BE004_run002" / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"length_mean": 1234.5}))
    changed, was_stored = resumed.run(4, 2)
    assert (changed.length_mean, was_stored) == (1234.5, True)
    assert [call.args[0].name for call in reading.call_args_list[2:]] == ["BE004_run002"]


def test_another_update_of_a_stored_run_stays_its_own(begin: Callable[..., Execution], begun_before: Execution) -> None:
    begun_before.run(4, 2)
    file = begun_before.plan.directory / "BE004_run002" / "results.json"
    record = json.loads(file.read_text())
    record["update"]["gradient_norm"] *= 2
    file.write_text(json.dumps(record))
    resumed = begin("batch_scaling")
    first, second = (present(resumed.run(4, number)[0].update.gradient_norm) for number in (1, 2))
    assert second == pytest.approx(2 * first)


def test_a_stored_run_that_was_removed_is_computed_again(
    begin: Callable[..., Execution], begun_before: Execution
) -> None:
    resumed = begin("batch_scaling")
    before, was_stored = resumed.run(4, 1)
    assert was_stored
    shutil.rmtree(resumed.plan.directory / "BE004_run001")
    again, was_stored = resumed.run(4, 1)
    assert not was_stored
    assert again.per_prompt == before.per_prompt


class Interrupted(RuntimeError):
    """What a computation fails by once: memory, a file system, a judge."""


def failing_at(of: Execution, call: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make one forward pass of the checkpoint's last layer fail, the ``call``-th; returns the passes so far."""
    config = of.plan.resolved.config.model
    model = of.place.machine.checkpoint(of.plan.files, config.device, config.dtype).policy.model
    passes: list[int] = []
    layer = [module for name, module in model.named_modules() if name.endswith("mlp")][-1]
    forward = layer.forward

    def counted(*arguments: Any, **named: Any) -> Any:
        passes.append(len(passes) + 1)
        if len(passes) == call:
            raise Interrupted(f"pass {call}")
        return forward(*arguments, **named)

    monkeypatch.setattr(layer, "forward", counted)
    return passes


TIMES = ("seconds", "memory_mb", "peak_memory_mb")


def numbers_in(of: Execution, B_E: int, run: int) -> str:
    """All that a run's file holds but times and memory, its update's included."""
    file = of.plan.directory / of.plan.run_directory(B_E, run) / "results.json"
    return json.dumps(without_times(json.loads(file.read_text())), sort_keys=True)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_a_second_attempt_gives_the_numbers_of_a_first(
    begin: Callable[..., Execution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Wherever the first was interrupted: in the update batch, in the run, with weights off their place."""
    with monkeypatch.context() as patched:
        undisturbed = begin("single_run")
        passes = failing_at(undisturbed, 0, patched)
        undisturbed.run(4, 1)
    expected, total = numbers_in(undisturbed, 4, 1), len(passes)
    for place in tmp_path.iterdir():
        shutil.rmtree(place)
    of = begin("single_run")
    failing_at(of, 1 + int(share * total), monkeypatch)
    with pytest.raises(FailedRun, match="Interrupted: pass"):
        of.run(4, 1)
    with pytest.raises(FailedRun, match="Interrupted: pass") as known:
        of.run(4, 1)
    assert known.value.known, "another item does not compute it"
    of.attempt = 2
    of.run(4, 1)
    assert numbers_in(of, 4, 1) == expected
    assert (of.plan.directory / of.plan.run_directory(4, 1) / "error_1.txt").is_file()
    # Items that follow, at their first attempt, read it.
    of.attempt = 1
    assert [isinstance(result, FailedRun) for _, _, result in of.each_run()] == [False, False]


def test_memory_probes_that_failed_are_measured_again_in_another_attempt(
    begin: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = begin("memory_scaling")
    of.update_of(1)
    failing_at(of, 1, monkeypatch)
    for _ in range(2):
        with pytest.raises(FailedRun, match="Interrupted: pass"):
            of.memory_probes(6.0)
    of.attempt = 2
    assert of.memory_probes(6.0).probes
    assert (of.plan.directory / "memory_probes" / "error_1.txt").is_file()
