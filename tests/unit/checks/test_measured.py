"""A measurement that is missing: the check that needs it is inconclusive and names it, whichever it is."""

from __future__ import annotations

import ast
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pytest_entropy
from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checks import measured, validation
from pytest_entropy.checks.bookkeeping import bookkeeping
from pytest_entropy.checks.summaries import eta_sweep
from pytest_entropy.checks.summaries import single_run as single
from pytest_entropy.checks.summaries.convergence import se_slope
from pytest_entropy.checks.update_moves import update_moves
from pytest_entropy.policy.alternatives import ALTERNATIVES
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.model import ExperimentConfig

ALPHA = 1e-4
CHECKS = {
    "sampler_scorer_agreement": validation.sampler_scorer_agreement,
    "single_agreement": single.agreement,
    "batch_invariance": validation.batch_invariance,
    "draws": validation.draws,
    "definition": validation.definition,
    "update_gradient": validation.update_gradient,
    "update_direction": validation.update_direction,
    "update_moves": update_moves,
    "bookkeeping": lambda runs: bookkeeping(runs, with_replacement=False),
    "score_identity": lambda runs: validation.score_identity(runs, alpha=ALPHA),
    "surprisal_identity": lambda runs: validation.surprisal_identity(runs, alpha=ALPHA),
    "sampler_alternatives": lambda runs: validation.sampler_alternatives(runs, alpha=ALPHA),
    "estimator_agreement": lambda runs: validation.estimator_agreement(runs, alpha=ALPHA),
    "first_order_accuracy": lambda runs: validation.first_order_accuracy(runs, alpha=ALPHA),
    "se_calibration": lambda runs: validation.se_calibration(runs, alpha=ALPHA, rng=np.random.default_rng(0)),
    "eta_sweep_intercept": lambda runs: eta_sweep.intercept_check(runs[0], alpha=ALPHA),
}


@pytest.fixture(scope="module")
def runs():
    """Three real runs of the demo with everything that any check looks at."""
    settings = ExperimentConfig(diagnostics=True).probe_settings()["diagnostics"]
    config = ProbeConfig(
        B_U=4, G=3, max_new_tokens=20, diagnostics=(*settings, "total_variance", "eta_sweep"), chunk_tokens=2048
    )
    probe = EntropyProbe(load_checkpoint("demo"), config)
    # As many surprises as a session of full size expects, so that no check is left undecided for want of them.
    return [replace(probe.run(16, 0, run=run), expected_surprises=1e3) for run in (1, 2, 3)]


def without(run: RunRecord, part: str, name: str) -> RunRecord:
    """The run as its record gives it back once ``name`` is renamed in ``part`` (``""``: the record itself)."""
    record, arrays = run.to_dict(), dict(run.arrays)
    if part == "arrays":
        arrays[f"{name}_renamed"] = arrays.pop(name)
    else:
        where = record[part] if part else record
        where[f"{name}_renamed"] = where.pop(name)
    return RunRecord.from_dict(record, arrays)


def places(run: RunRecord) -> list[tuple[str, str]]:
    """Everything a run has measured: (part of the record, name)."""
    record = run.to_dict()
    parts = ("agreement", "update", "diagnostics", "variance_parts")
    found = [(part, name) for part in parts for name in record[part]]
    found += [("arrays", name) for name in run.arrays]
    optional = [f.name for f in fields(RunRecord) if f.name in ("asked", "sampling_fraction", "expected_surprises")]
    return [*found, *(("", name) for name in optional), ("", "variance_total")]


def verdicts(runs: list[RunRecord]) -> dict[str, tuple[str, str]]:
    """Each check's verdict, "error" where it fails loudly, and what it says: an undecided check says why."""
    found = {}
    for name, check in CHECKS.items():
        try:
            outcome = check(runs)
        except measured.Missing as error:
            found[name] = ("error", repr(error))
        else:
            found[name] = (outcome.verdict, outcome.message())
    return found


def test_no_check_passes_as_before_on_a_record_that_lacks_what_it_needs(runs):
    """Each measured field of a stored run is renamed in turn: whatever looked at it no longer passes."""
    whole = verdicts(runs)
    assert not [name for name, (verdict, _) in whole.items() if verdict not in ("pass", "inconclusive")]
    # What no check looks at: it is for the reader.
    unused = {"seconds", "memory_mb", "sample", "rule", "objective", "eta_source"}
    seen = set()
    for part, name in places(runs[0]):
        changed = [without(runs[0], part, name), *runs[1:]]
        now = verdicts(changed)
        lost = {check for check in CHECKS if now[check] != whole[check]}
        assert not [check for check in lost if now[check][0] == "pass"], (part, name)
        if lost:
            seen.add((part, name))
    judged = {name for _, name in seen}
    for name in ("log_probs", "entropies", "draws", "definition", "alone_log_probs", "rounding", "copies", "repeated",
                 "direction_gap", "shared_with_update", "temperature_gap", "size_gap", "other_prompts", "past_the_end",
                 "unterminated", "entropy_sampled", "length_sampled", "ended_sampled", "entropy_se_sampled",
                 "first_prompts", "oracle_gap", "loss_slope_gap", "eta_gap", "reward_gap", "draw_gap", "reward_mean",
                 "direction_norm", "gradient_norm",
                 "fingerprint", "prompts", "rewards", "asked", "variance_total", "interaction", "ranks"):  # fmt: skip
        assert name in judged, name
    assert not judged & unused


@pytest.mark.parametrize(
    ("part", "name", "check"),
    [
        ("diagnostics", "score", "score_identity"),
        ("diagnostics", "reinforce_loo", "estimator_agreement"),
        ("diagnostics", "entropy_slope", "first_order_accuracy"),
        ("arrays", "ranks", "surprisal_identity"),
        ("arrays", "surprisal_sd", "surprisal_identity"),
        ("arrays", "sampler_evidence", "sampler_alternatives"),
        ("", "expected_surprises", "score_identity"),
        ("", "expected_surprises", "estimator_agreement"),
        ("", "expected_surprises", "first_order_accuracy"),
        ("", "expected_surprises", "eta_sweep_intercept"),
        ("", "sampling_fraction", "se_calibration"),
        ("agreement", "draws", "draws"),
        ("update", "draw_gap", "draws"),
        ("update", "loss_slope_gap", "update_gradient"),
        ("update", "oracle_gap", "update_direction"),
        ("agreement", "definition", "definition"),
        ("agreement", "alone_entropies", "batch_invariance"),
        ("agreement", "log_probs", "sampler_scorer_agreement"),
        ("agreement", "alone_log_probs", "sampler_scorer_agreement"),
        ("update", "direction_norm", "update_moves"),
    ],
)
def test_what_is_missing_is_named(runs, part, name, check):
    outcome = CHECKS[check]([without(runs[0], part, name), *runs[1:]])
    assert outcome.verdict == "inconclusive"
    what = f"array {name}" if part == "arrays" else f"{part}.{name}" if part else name
    assert f"B_E 16 run 1 has no {what}" in outcome.message()
    assert "what was not measured cannot pass" in outcome.message()


def test_a_number_is_a_number():
    run = SimpleNamespace(B_E=4, run=2, agreement=SimpleNamespace())
    for value in (None, "0.0", True, [0.0], float("nan")):
        run.agreement.gap = value
        with pytest.raises(measured.Missing, match=r"B_E 4 run 2 has no agreement\.gap"):
            measured.number(run, "gap")
    run.agreement.gap = 0
    assert measured.number(run, "gap") == 0.0


def test_scalars_that_are_not_one_for_each_prompt_are_missing(runs):
    short = replace(runs[0], diagnostics=runs[0].diagnostics | {"score": [0.0]})
    with pytest.raises(measured.Missing, match=r"has no diagnostics\.score for each of its prompts"):
        measured.per_prompt(short, "score")


def test_the_entropy_term_of_another_unit_is_never_taken_from_the_wrong_scalars(runs):
    per_token = replace(runs[0], unit="nats per token")
    with pytest.raises(measured.Missing, match="entropy_term"):
        measured.per_prompt(per_token, "entropy_term")


def test_a_single_batch_has_no_slope_of_its_error(runs):
    outcome = se_slope([replace(run, mode="u_statistic") for run in runs], alpha=ALPHA, rng=np.random.default_rng(0))
    assert outcome.verdict == "inconclusive"
    assert "every run has an update of its own" in outcome.message()


def test_a_collapsed_policy_leaves_its_means_and_digits_undecided(runs):
    collapsed = [replace(run, expected_surprises=0.1) for run in runs]
    for name in ("score_identity", "estimator_agreement", "first_order_accuracy", "eta_sweep_intercept"):
        outcome = CHECKS[name](collapsed)
        assert outcome.verdict == "inconclusive"
        assert "responses are expected to hold a token other than the likeliest" in outcome.message()
    still = [
        replace(run, diagnostics={k: v for k, v in run.diagnostics.items() if k != "entropy_slope"})
        for run in collapsed
    ]
    without_slope = validation.first_order_accuracy(still, alpha=ALPHA).message()
    assert "responses are expected to hold a token other than the likeliest" in without_slope
    nats = [replace(run, agreement=replace(run.agreement, entropy_sampled=1e-6, definition=0.02)) for run in runs]
    outcome = validation.definition(nats)
    assert outcome.verdict == "inconclusive"
    assert "--dtype float64" in outcome.message()
    # A policy that still answers in several ways is judged as closely as ever.
    faulty = [replace(run, agreement=replace(run.agreement, definition=0.02)) for run in runs]
    assert validation.definition(faulty).verdict == "fail"


def test_alternatives_are_those_that_the_evidence_is_of(runs):
    assert runs[0].arrays["sampler_evidence"].shape == (len(ALTERNATIVES), 2)


PACKAGE = Path(pytest_entropy.__file__).parent


@pytest.mark.parametrize("folder", ["checks", "probe", "baselines", "stats", "records", "reports", "runs"])
def test_no_measured_number_has_a_default(folder):
    """``record.get(name, 0.0)`` and ``value or 0.0`` make a missing number one that agrees with everything."""
    found = []
    for module in sorted((PACKAGE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
            default = called and len(node.args) == 2 and _is_zero(node.args[1])
            either = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and _is_zero(node.values[-1])
            if default or either:
                found.append(f"{module.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == 0
