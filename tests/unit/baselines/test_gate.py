"""The regression gate's numbers: its rules, its error rates, and what it refuses to compare."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from pytest_entropy.baselines.baseline_file import (
    gather,
    load_baseline,
    locate,
    objective,
    refuse_another,
    save,
    snapshot,
)
from pytest_entropy.baselines.compare import compare
from pytest_entropy.baselines.noise import log_noise, log_noise_pseudo_values, swap_p_value
from pytest_entropy.baselines.rules import DEFAULT, Rule, parse_rules
from pytest_entropy.commands.command_line import main
from pytest_entropy.errors import UsageError
from pytest_entropy.records.baseline import BaselineRun, SharedUpdate, Snapshot
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.model import ExperimentConfig
from tests.present import present
from tests.unit.reports.stored import result, scalars, store_experiment

RULES = parse_rules([DEFAULT])
UPDATE = SharedUpdate(prompts=["p"], rewards=[[0.0, 1.0]])


def measured(
    draws: list[np.ndarray], *, factor: float = 1.0, entropy: float = 1.75, update: SharedUpdate = UPDATE
) -> Snapshot:
    """A snapshot of one run per array of per-prompt scalars, scaled by ``factor``."""
    level = np.broadcast_to(entropy, len(draws)).tolist()
    runs = [BaselineRun.of(result(len(s), n + 1, factor * s, entropy_mean=level[n])) for n, s in enumerate(draws)]
    return Snapshot(checkpoint="c", checkpoint_digest="d", objective={}, update=update, runs=runs)


def verdicts(before: Snapshot, after: Snapshot, rules: list[Rule] = RULES, alpha: float = 1e-3) -> dict[str, str]:
    return {c.rule.quantity: c.outcome.verdict for c in compare(before, after, rules, alpha=alpha)}


def test_a_configuration_from_before_a_setting_existed_has_it_at_none() -> None:
    config = ExperimentConfig().model_dump()
    now = objective(config)
    del config["batch_config"]["G_E"]
    assert objective(config) == now
    assert objective({**config, "batch_config": {**config["batch_config"], "G_E": 2}}) != now


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("delta_h1:5%", ("delta_h1", "difference", 0, 0.05, True)),
        ("entropy:-0.01", ("entropy", "difference", -1, 0.01, False)),
        ("signal_to_noise:+20%", ("signal_to_noise", "difference", 1, 0.2, True)),
        ("delta_h1~1e-3", ("delta_h1", "equivalence", 0, 1e-3, False)),
    ],
)
def test_expressions(text: str, fields: tuple[str, str, int, float, bool]) -> None:
    (rule,) = parse_rules([text])
    assert (rule.quantity, rule.kind, rule.direction, rule.size, rule.relative) == fields
    assert rule.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delta_h1>5%", "is not a rule such as"),
        ("loss:5%", "unknown quantity 'loss'"),
        ("delta_h1:0%", "margin must be positive"),
        ("delta_h1:1.2.3", "is not a number"),
        ("signal_to_noise:0.1", "in per cent"),
        ("delta_h1~+5%", "equivalence has no direction"),
        ("delta_h1:5%,delta_h1:6%", "delta_h1 already has a rule"),
        ("", "is not a rule"),
    ],
)
def test_expressions_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_rules([text])


def test_the_same_measurement_is_unchanged() -> None:
    draws = [scalars(np.random.default_rng(1), 32)]
    assert set(verdicts(measured(draws), measured(draws)).values()) == {"pass"}
    equivalence = parse_rules(["delta_h1~1%,entropy~50%,signal_to_noise~1%"])
    assert set(verdicts(measured(draws), measured(draws), equivalence).values()) == {"pass"}


def test_rounding_is_no_regression() -> None:
    rng = np.random.default_rng(2)
    draws = [scalars(rng, 64) for _ in range(4)]
    noisy = [s * (1 + 1e-6 + 1e-7 * rng.standard_normal(64)) for s in draws]
    assert set(verdicts(measured(draws), measured(noisy)).values()) == {"pass"}


def test_the_effect_and_its_interval_are_those_of_the_difference() -> None:
    rng = np.random.default_rng(3)
    draws = [scalars(rng, 64) for _ in range(4)]
    before, after = measured(draws), measured(draws, factor=1.5)
    found = {c.rule.quantity: c for c in compare(before, after, RULES, alpha=1e-3)}
    delta = found["delta_h1"]
    expected = np.mean([run.delta_h1 for run in before.runs])
    assert delta.before == pytest.approx(expected)
    assert delta.outcome.effect == pytest.approx(0.5 * expected)
    low, high = present(delta.outcome.ci)
    assert low < 0.5 * expected < high
    assert delta.outcome.verdict == "fail"
    # A factor changes neither the spread over the mean nor the entropy.
    assert found["signal_to_noise"].outcome.effect == pytest.approx(0, abs=1e-6)
    assert found["signal_to_noise"].outcome.verdict == found["entropy"].outcome.verdict == "pass"


def test_jackknife_of_the_noise_is_that_of_leaving_out_each_prompt() -> None:
    x = scalars(np.random.default_rng(4), 12)

    expected = [12 * log_noise(x) - 11 * log_noise(np.delete(x, n)) for n in range(12)]
    assert log_noise_pseudo_values(x) == pytest.approx(expected)


def test_swaps_reject_a_change_and_keep_their_level() -> None:
    rng = np.random.default_rng(14)
    old = scalars(rng, 128)
    assert swap_p_value(old, old + 500 * rng.standard_normal(128), alpha=1e-2) < 1e-2
    p = [swap_p_value(*rng.lognormal(0, 1, (2, 40)), alpha=0.2) for _ in range(1000)]
    # 200 expected at 0.2; 5 standard deviations.
    assert abs(sum(value < 0.2 for value in p) - 200) < 64
    assert swap_p_value(old, old[::-1], alpha=1e-9) == 0.0


def test_direction_counts() -> None:
    draws = [scalars(np.random.default_rng(5), 256)]
    before, after = measured(draws), measured(draws, factor=1.5)
    # The entropy falls, so half as much again is a decrease.
    assert verdicts(before, after, parse_rules(["delta_h1:-5%"])) == {"delta_h1": "fail"}
    assert verdicts(before, after, parse_rules(["delta_h1:+5%"])) == {"delta_h1": "pass"}


def test_entropy_and_noise_are_seen_too() -> None:
    rng = np.random.default_rng(6)
    draws = [scalars(rng, 256) for _ in range(3)]
    louder = [s + 500 * rng.standard_normal(256) for s in draws]
    assert verdicts(measured(draws), measured(louder))["signal_to_noise"] == "fail"
    assert verdicts(measured(draws), measured(draws, entropy=2.2))["entropy"] == "fail"
    assert verdicts(measured(draws), measured(draws, entropy=1.76))["entropy"] == "pass"


def test_equivalence_has_to_be_shown() -> None:
    rng = np.random.default_rng(7)
    first, second = ([scalars(rng, 32)] for _ in range(2))
    assert verdicts(measured(first), measured(second), parse_rules(["delta_h1~5%"])) == {"delta_h1": "inconclusive"}


def test_another_update_batch_is_inconclusive_for_what_depends_on_it() -> None:
    draws = [scalars(np.random.default_rng(8), 64)]
    other = SharedUpdate(prompts=["p"], rewards=[[1.0, 1.0]])
    found = verdicts(measured(draws), measured(draws, update=other))
    assert found == {"delta_h1": "inconclusive", "entropy": "pass", "signal_to_noise": "inconclusive"}


def test_no_run_in_common_is_inconclusive() -> None:
    rng = np.random.default_rng(9)
    found = verdicts(measured([scalars(rng, 16)]), measured([scalars(rng, 32)]))
    assert set(found.values()) == {"inconclusive"}


def pair(rng: np.random.Generator, prompts: int = 64, runs: int = 4) -> list[list[np.ndarray]]:
    """Two measurements of one checkpoint with other responses to the same prompts: half of the spread is theirs."""
    common = [scalars(rng, prompts) for _ in range(runs)]
    return [[s * rng.lognormal(0, 0.5, prompts) / np.exp(0.125) for s in common] for _ in range(2)]


@pytest.mark.slow
def test_five_hundred_equal_pairs_raise_at_most_one_alarm() -> None:
    rng = np.random.default_rng(20)
    strict = parse_rules(["delta_h1:0.001%,entropy:0.001%,signal_to_noise:0.001%"])
    alarms = 0
    for _ in range(500):
        first, second = pair(rng)
        # The spread that the stored standard errors say.
        levels = 1.75 + 0.05 * rng.standard_normal((2, len(first)))
        before, after = measured(first, entropy=levels[0]), measured(second, entropy=levels[1])
        alarms += "fail" in verdicts(before, after, strict).values()
    # With hardly any margin: 0.5 are expected at the nominal rate, more than 1 in 9 % of such tests.
    assert alarms <= 1


@pytest.mark.slow
def test_an_update_scaled_by_half_is_caught_at_the_documented_size() -> None:
    """docs/ci.md: 512 prompts in all, s_n with a spread of its mean, other responses in the two measurements."""
    rng = np.random.default_rng(21)
    caught = 0
    for _ in range(200):
        first, second = pair(rng, runs=8)
        caught += verdicts(measured(first), measured(second, factor=1.5))["delta_h1"] == "fail"
    assert caught >= 190


def test_a_baseline_is_what_was_stored(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    file = save(locate(tmp_path, "main"), "main", [directory])
    assert file == tmp_path / "baselines" / "main.json"
    stored = load_baseline(file).experiments["batch_scaling"]
    assert stored == snapshot(directory)
    assert gather(file) == gather(directory) == gather(tmp_path)
    assert stored.objective["probe.update_rule"] == "preconditioned"


def test_a_baseline_keeps_runs_under_the_keys_that_they_have_themselves(tmp_path: Path) -> None:
    assert {one.name for one in fields(BaselineRun)} <= {one.name for one in fields(RunRecord)}
    file = save(tmp_path / "b.json", "b", [store_experiment(tmp_path)])
    (experiment,) = json.loads(file.read_text())["experiments"].values()
    assert set(experiment) == {
        "checkpoint", "checkpoint_digest", "objective", "environment", "settings", "config_digest", "unit", "update",
        "runs",
    }  # fmt: skip
    for kept, own in zip(experiment["runs"], sorted(tmp_path.rglob("results.json")), strict=True):
        whole = json.loads(own.read_text())
        assert kept == {key: whole[key] for key in kept}
        assert not {"se_total", "variance_total", "sampling_fraction"} & set(kept)


def test_an_incomplete_experiment_is_no_baseline(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    (directory / "BE008_run001" / "results.json").unlink()
    with pytest.raises(UsageError, match="runs without a result: BE008_run001"):
        snapshot(directory)


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "b.json", "b", [store_experiment(tmp_path)])
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "schema_version": 99}))
    with pytest.raises(UsageError, match="schema version 99"):
        load_baseline(file)
    assert load_baseline(file, anyway=True).schema_version == 99
    broken = copy.deepcopy(record)
    del broken["experiments"]["batch_scaling"]["update"]
    file.write_text(json.dumps(broken))
    with pytest.raises(UsageError, match=r"experiments\.batch_scaling lacks update"):
        load_baseline(file)
    file.write_text("[1]")
    with pytest.raises(UsageError, match="is not a baseline"):
        load_baseline(file)


def test_another_checkpoint_or_objective_is_refused() -> None:
    before = replace(
        measured([scalars(np.random.default_rng(0), 8)]),
        checkpoint="runs/a",
        checkpoint_digest="a" * 16,
        objective={"seed": 0, "probe.advantage": "grpo"},
    )
    refuse_another(before, "a" * 16, {"seed": 0, "probe.advantage": "grpo"}, "baseline x")
    with pytest.raises(UsageError, match="another checkpoint"):
        refuse_another(before, "b" * 16, before.objective, "baseline x")
    with pytest.raises(UsageError, match=r"probe.advantage 'grpo', now 'rloo'.*seed 0, now 1"):
        refuse_another(before, "a" * 16, {"seed": 1, "probe.advantage": "rloo"}, "baseline x")


def test_the_command_compares_stored_experiments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = store_experiment(tmp_path / "a", sizes=(64,), runs=4)
    other = store_experiment(tmp_path / "b", sizes=(64,), runs=4)
    assert main(["compare", str(one), str(other)]) == 0
    assert "unchanged" in capsys.readouterr().out
    for file in other.glob("*/results.json"):
        record = json.loads(file.read_text())
        record["per_prompt"] = [1.5 * s for s in record["per_prompt"]]
        file.write_text(json.dumps(record))
    page = tmp_path / "page.html"
    assert main(["compare", str(one), str(tmp_path / "b"), "--html", str(page)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("batch_scaling: CHANGED: δH₁ -0.0")
    assert "nats/response (+50 %, CI +44 % … +58 %; allowed ± 5 %); likely causes: same checkpoint and settings" in out
    assert "delta_h1:5%" in page.read_text()
    assert out.split("; likely")[0].removeprefix("batch_scaling: ") in page.read_text()
    assert main(["compare", str(one), str(other), "--fail", "delta_h1:80%"]) == 0
    assert main(["compare", str(one), str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("wrong", ["checkpoint", "objective", "version", "rule"])
def test_the_command_names_its_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """Those of a session are called --entropy-compare-…"""
    directory = store_experiment(tmp_path / "a", sizes=(64,), runs=4)
    file = save(tmp_path / "b.json", "b", [directory])
    record = json.loads(file.read_text())
    stored = record["experiments"]["batch_scaling"]
    if wrong == "checkpoint":
        stored["checkpoint_digest"] = "f" * 16
    elif wrong == "objective":
        stored["objective"]["seed"] = 7
    elif wrong == "version":
        record["schema_version"] = 99
    file.write_text(json.dumps(record))
    arguments = ["compare", str(file), str(directory)]
    assert main([*arguments, *(["--fail", "delta_h1"] if wrong == "rule" else [])]) == 2
    message = capsys.readouterr().err
    assert "--entropy-compare" not in message
    assert ("--fail: 'delta_h1' is not a rule" if wrong == "rule" else "or give --anyway") in message
    assert main([*arguments, "--anyway"]) == 0
