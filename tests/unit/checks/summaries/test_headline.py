"""Falls, rises, or no change seen: what is claimed of the sign, with which errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_entropy.checks.summaries import debug, single_run
from pytest_entropy.checks.summaries.convergence import convergence
from pytest_entropy.checks.summaries.eta_sweep import SweepRecord
from pytest_entropy.checks.summaries.headline import errors_of_the_fit, mean_measurement, measurement
from pytest_entropy.checks.summaries.sanity_check import validation_summary
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import Measurement, ScalingFit
from pytest_entropy.stats.change import change, drift
from tests.present import present
from tests.unit.reports.stored import ETA, result, scalars

SCORES = {"diagnostics": {"score": [0.0, 1.0], "reinforce_loo": [1.0, 2.0]}}


def one(mean: float, *, se_total: float | None = None, spread: float = 20.0, B_E: int = 64, **more: Any) -> RunRecord:
    """A run with delta_h1 = ``mean`` and a conditional SE of ``spread * ETA / sqrt(B_E)``."""
    s = np.random.default_rng(0).normal(size=B_E)
    s = mean / ETA + spread * (s - s.mean()) / s.std(ddof=1)
    total = None if se_total is None else se_total**2
    update = {"prompts": [f"p{n}" for n in range(32)], "reward_mean": 0.5}
    return result(B_E, 1, s, se_total=se_total, variance_total=total, **{"update": update, **SCORES, **more})


def said(run: RunRecord, **more: Any) -> str:
    what, known = change(measurement(run), "nats/response", confidence=0.95, **more)
    return f"{what}: {known}"


def test_a_change_has_a_direction_and_a_positive_amount() -> None:
    # SE 20 * 2e-4 / 8 = 0.0005.
    assert said(one(-0.0253)) == (
        "entropy falls by 0.0253 nats/response: δH₁ = -0.02530 ± 0.00050 for this update batch"
    )
    # The next step: t(31) = 2.0395 times sqrt(0.0046^2 + (0.0046^2 - 0.0005^2)).
    assert said(one(0.0253, se_total=0.0046)) == (
        "entropy rises by 0.0253 nats/response (95%: by 0.0121 to 0.0385): δH₁ = 0.02530 ± 0.00050 for this update "
        "batch, ± 0.0046 over update batches"
    )


def test_no_change_is_seen_where_the_interval_holds_zero() -> None:
    assert said(one(-0.0004)) == (
        "no change seen: between -0.0014 and 0.000603 nats/response (95%, for this update batch): "
        "δH₁ = (-4.0 ± 5.0)e-04 for this update batch"
    )
    words = said(one(-0.0004, se_total=0.002), when=" at the next step")
    assert words.startswith(
        "no change seen at the next step: between -0.00608 and 0.00528 nats/response (95%, over the "
    )
    assert "falls" not in words


def test_of_the_next_step_nothing_is_claimed_that_holds_for_this_update_batch_only() -> None:
    """Its update batch is another one."""
    words = said(one(-0.0253, se_total=0.02))
    assert words.startswith("no change seen: between -0.083 and 0.0324 nats/response (95%, over the next step's update")
    assert words.endswith("δH₁ = -0.02530 ± 0.00050 for this update batch, ± 0.020 over update batches")


def test_the_level_of_the_interval_decides_what_is_claimed() -> None:
    borderline = measurement(one(-0.0018))
    assert change(borderline, "nats", confidence=0.95)[0].startswith("entropy falls")
    assert change(borderline, "nats", confidence=0.9999)[0].startswith("no change seen: between -0.00")


def test_the_drift_has_the_interval_over_update_batches() -> None:
    measured = measurement(one(-0.0253, se_total=0.0046))
    said_of_it = "drift per step, the mean over update batches: falls by 0.0159 to 0.0347 nats/response (95%)"
    assert drift(measured, "nats/response", confidence=0.95) == said_of_it
    unseen = drift(measurement(one(-0.0253, se_total=0.02)), "nats/response", confidence=0.95)
    assert unseen == (
        "drift per step, the mean over update batches: not seen, between -0.0661 and 0.0155 nats/response (95%)"
    )
    assert drift(measurement(one(-0.0253)), "nats/response", confidence=0.95) == ""


def test_a_mean_over_update_batches_has_their_part_once_for_each() -> None:
    runs = [
        replace(run, update=replace(run.update, fingerprint=float(n)))
        for n, run in enumerate(one(mean, se_total=0.0046) for mean in (-0.02, -0.03))
    ]
    measured = mean_measurement(runs)
    own, part = 0.0005**2, 0.0046**2 - 0.0005**2
    assert measured.updates == 2
    assert measured.value == pytest.approx(-0.025)
    assert present(measured.se_total) ** 2 == pytest.approx(own / 2 + part / 2)
    assert present(measured.se_next_step) ** 2 == pytest.approx(own / 2 + part / 2 + part)
    _, words = single_run.conclusion(runs)
    assert "over update batches (mean of 2 runs along 2 update batches)" in words


def test_a_noisy_run_is_inconclusive_and_says_the_option_that_would_do() -> None:
    assert single_run.precision([one(-0.0253, se_total=0.0046)]).verdict == "pass"
    noisy = single_run.precision([one(-0.0004)])
    assert noisy.verdict == "inconclusive"
    # (0.0005 / 0.0002)^2 times 64 prompts, rounded up.
    assert noisy.reason == "the error for this update batch is 1.25 of δH₁, above 0.5; to decide: --be 401"
    # The update batches' part, 0.0046^2, alone is (0.0046 / 0.002)^2 times what is allowed.
    spread = single_run.precision([one(-0.004, se_total=0.0046)])
    assert spread.reason == (
        "the error over update batches is 1.15 of δH₁, above 0.5; to decide: --entropy-set batch_config.updates=6"
    )
    # A part of B_E's, beside one of the update batches that is small enough.
    both = single_run.precision([one(-0.004, se_total=0.0023, spread=80.0)])
    assert both.reason.endswith("to decide: --be 95")


def test_a_missing_total_variance_is_said_with_its_reason() -> None:
    note = "no total variance: one prompt"
    assert f"over update batches not determined ({note})" in said(replace(one(-0.0253), notes=[note]))


def test_a_negative_estimate_gives_the_larger_parts_error() -> None:
    run = replace(one(-0.0253, se_total=0.003), variance_total=-1e-9)
    assert "± 0.0030 over update batches" in said(run)


def test_too_few_prompts_have_no_interval_and_claim_no_sign() -> None:
    words = said(one(-0.0253, B_E=8))
    assert words.startswith("sign not judged")
    assert words.endswith(", no interval: 8 prompts are too few (it takes 32 to decide)")
    run = one(-0.0253, se_total=0.002)
    few = replace(run, update=replace(run.update, prompts=run.update.prompts[:8]))
    assert said(few).startswith("sign not judged")
    assert said(few).endswith("over update batches no interval: 8 prompts are too few (it takes 32 to decide)")


def test_a_single_batch_has_one_error_over_batches() -> None:
    words = said(replace(one(-0.0253, se_total=0.0005), mode="u_statistic"))
    assert words.endswith("δH₁ = -0.02530 ± 0.00050 over batches")
    assert "this update" not in words


def test_an_update_that_moves_nothing_divides_by_nothing() -> None:
    still = replace(one(0.0, spread=0.0), se_total=0.0, variance_total=0.0)
    assert change(measurement(still), "nats", confidence=0.95) == ("no change: the update moves nothing", "")
    _, words = single_run.conclusion([still], confidence=0.95)
    assert words == "no change: the update moves nothing at the next step, from 1.75 nats/response"
    assert debug.conclusion([still]) == ("logged", "B_E 64: no change: the update moves nothing")
    assert change(Measurement(-0.1, None, 1), "nats", confidence=0.95)[0] == "change of unknown error"


def test_the_single_run_and_the_debug_report_conclude_so() -> None:
    run = one(-0.0253, se_total=0.0046)
    sweep = SweepRecord("nats per response", ETA, [], [], -100.0, 1e-9, 0.95, reading="first order holds")
    _, words = single_run.conclusion([run], sweep, confidence=0.95)
    assert words == (
        "entropy falls by 0.0253 nats/response at the next step (95%: by 0.0121 to 0.0385), from 1.75 nats/response: "
        "δH₁ = -0.02530 ± 0.00050 for this update batch, ± 0.0046 over update batches; drift per step, the mean over "
        "update batches: falls by 0.0159 to 0.0347 nats/response (95%); |SE/δH₁| = 0.02 (good) for this update batch, "
        "0.18 (ok) over update batches; first order holds"
    )
    _, words = debug.conclusion([run, one(-0.0004)], confidence=0.95)
    assert words.startswith("B_E 64: entropy falls by 0.0253 nats/response (95%: by 0.0121 to 0.0385), δH₁ = -0.02530")
    # The other run's update batch is the same, and with it the error over update batches.
    assert "; B_E 64: no change seen: between -0.0136 and 0.0128 nats/response (95%, over the next step's" in words


def test_the_analyses_records_have_both_errors() -> None:
    run = one(-0.0253, se_total=0.0046)
    (kept,) = debug.debug_report([run], confidence=0.95, tolerance=0.1).runs
    assert (kept.delta_h1, kept.se_conditional, kept.se_total) == (
        run.delta_h1, run.se_conditional, run.se_total,
    )  # fmt: skip
    summary = validation_summary([run, run, run], {})
    own, total = present(run.se_conditional) ** 2, 0.0046**2
    assert summary.delta_h1_mean_se == pytest.approx((own / 3) ** 0.5)
    assert summary.delta_h1_mean_se_total == pytest.approx((own / 3 + total - own) ** 0.5)
    assert [entry.se_total for entry in summary.per_run] == [0.0046] * 3
    assert validation_summary([], {(4, 1): ValueError("x")}).delta_h1_mean_se_total is None
    assert validation_summary([one(-0.0253)], {}).delta_h1_mean_se_total is None


def test_a_fit_says_how_far_its_converged_value_moves_with_the_update() -> None:
    rng = np.random.default_rng(1)
    runs = [result(size, n, scalars(rng, size), sampling_fraction=0.0) for size in (16, 64) for n in (1, 2, 3)]
    known = [replace(r, variance_total=present(r.variance_conditional) + 9e-6) for r in runs]
    more = {"alpha": 1e-3, "confidence": 0.95, "tolerance": 0.1}
    verdict, record = convergence(known, rng=np.random.default_rng(2), **more)
    assert record.se_a_total == pytest.approx((present(present(record.fit).se_a) ** 2 + 9e-6) ** 0.5)
    assert verdict.reason.endswith("over update batches")
    assert f"; a ± {record.se_a_total:.4f} over update batches" in verdict.reason
    by_size = {size: sum(present(r.variance_conditional) for r in runs if size == r.B_E) / 9 for size in (16, 64)}
    for size, own in by_size.items():
        assert record.mean_se_total[str(size)] == pytest.approx((own + 9e-6) ** 0.5)
    verdict, record = convergence(runs, rng=np.random.default_rng(2), **more)
    assert (record.se_a_total, record.mean_se_total) == (None, {"16": None, "64": None})
    assert verdict.reason.endswith("; the errors are for this update batch")


def test_one_batch_size_has_no_fit_and_still_its_errors() -> None:
    fit = ScalingFit([64], 1, 64, 1.0, 0.95)
    words, record = errors_of_the_fit([one(-0.0253, se_total=0.0046)], fit)
    assert (words, record.se_a_total) == ("", None)
    assert record.mean_se_total == {"64": pytest.approx(0.0046)}
