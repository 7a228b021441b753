"""When a check does not decide: too few runs or prompts, nothing that could be measured; and what it then says."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from pytest_entropy.checks.summaries.sweep_fit import SWEEP_ARRAYS
from pytest_entropy.policy.alternatives import ALTERNATIVES
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep
from pytest_entropy.records.measured import Missing
from pytest_entropy.records.run import RunRecord
from pytest_entropy.testing import recorded
from pytest_entropy.testing.stored_fields import not_measured
from tests import simulated_runs
from tests.present import present
from tests.unit.checks.registered import CHECKS, judged


@pytest.fixture(scope="module")
def runs() -> list[RunRecord]:
    """Two runs of two batches with everything that any check looks at."""
    return recorded.forms()["two batches"]


@pytest.mark.parametrize("name", [name for name in simulated_runs.CHANGES if name != "convergence"])
def test_a_sample_that_could_not_have_seen_the_fault_is_inconclusive(name: str) -> None:
    few = {"sampler_alternatives": [3], "se_slope": [2, 3], "eta_sweep_intercept": [3]}.get(name, [3, 3])
    outcome = judged(name, simulated_runs.simulated(few), alpha=simulated_runs.SHARE)
    assert outcome.verdict == "inconclusive", outcome.message()


def test_a_check_without_its_share_or_its_generator_is_an_error(runs: list[RunRecord]) -> None:
    with pytest.raises(ValueError, match="needs its share alpha"):
        CHECKS["score_identity"].check(runs)
    with pytest.raises(ValueError, match="needs a random generator"):
        CHECKS["se_calibration"].check(runs, alpha=1e-3)


def test_no_runs_are_no_pass() -> None:
    for name in CHECKS:
        assert judged(name, []).verdict == "inconclusive", name


def test_the_sweeps_arrays_are_those_of_the_probe() -> None:
    assert tuple(f"sweep_{field.name}" for field in fields(EtaSweep)) == SWEEP_ARRAYS


def test_a_sweep_that_was_asked_for_and_is_not_whole_is_missed(runs: list[RunRecord]) -> None:
    lacking = [not_measured(run, "arrays.sweep_floor") for run in runs]
    check = CHECKS["eta_sweep_intercept"]
    assert not check.inapplicable(lacking)
    assert "B_E 16 run 1 has no array sweep_floor" in judged(check, lacking).message()


def test_a_single_batch_has_no_slope_of_its_error() -> None:
    outcome = judged("se_slope", recorded.forms()["single batches"])
    assert outcome.verdict == "inconclusive"
    assert "every run has an update of its own" in outcome.message()


def test_a_collapsed_policy_leaves_its_means_and_digits_undecided(runs: list[RunRecord]) -> None:
    collapsed = [replace(run, expected_surprises=0.1) for run in runs]
    for name in ("score_identity", "estimator_agreement", "first_order_accuracy", "eta_sweep_intercept"):
        outcome = judged(name, collapsed)
        assert outcome.verdict == "inconclusive"
        assert "responses are expected to hold a token other than the likeliest" in outcome.message()
    still = [not_measured(run, "diagnostics.entropy_slope") for run in collapsed]
    without_slope = judged("first_order_accuracy", still).message()
    assert "responses are expected to hold a token other than the likeliest" in without_slope
    nats = [replace(run, agreement=replace(run.agreement, entropy_sampled=1e-6, definition=0.02)) for run in runs]
    outcome = judged("definition", nats)
    assert outcome.verdict == "inconclusive"
    assert "--dtype float64" in outcome.message()
    # A policy that still answers in several ways is judged as closely as ever.
    faulty = [replace(run, agreement=replace(run.agreement, definition=0.02)) for run in runs]
    assert judged("definition", faulty).verdict == "fail"


def test_alternatives_are_those_that_the_evidence_is_of(runs: list[RunRecord]) -> None:
    assert runs[0].arrays["sampler_evidence"].shape == (len(ALTERNATIVES), 2)


def test_the_evidence_says_how_many_tokens_decided(runs: list[RunRecord]) -> None:
    drawn = sum(len(run.arrays["ranks"]) for run in runs)
    assert "tokens decide" not in judged("sampler_alternatives", runs).message()
    few = [replace(run, arrays={**run.arrays, "evidence_tokens": np.array(10)}) for run in runs]
    outcome = judged("sampler_alternatives", few)
    assert outcome.n == 10 * len(runs)
    assert f"({10 * len(runs)} of {drawn} tokens decide)" in outcome.message()
    unknown = [not_measured(run, "arrays.evidence_tokens") for run in runs]
    assert judged("sampler_alternatives", unknown).verdict == "inconclusive"


def test_an_effect_of_interest_needs_its_measurements_as_well(runs: list[RunRecord]) -> None:
    with pytest.raises(Missing, match="entropy_term"):
        CHECKS["score_identity"].effect_of_interest([replace(run, per_prompt=None, diagnostics={}) for run in runs])  # type: ignore[arg-type]
    assert CHECKS["draws"].effect_of_interest(runs) is None
    assert np.isfinite(present(CHECKS["surprisal_identity"].effect_of_interest(runs)))
