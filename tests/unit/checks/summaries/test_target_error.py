"""The outcome and the record of a target of the error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_entropy.checks.summaries.headline import mean_measurement
from pytest_entropy.checks.summaries.single_run import single_run_analysis
from pytest_entropy.checks.summaries.target_error import error_after, more_runs, reaches_target, target_reached
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain
from pytest_entropy.settings.model import BatchConfig
from pytest_entropy.stats.target_error import ErrorAfter
from tests.present import present
from tests.unit.reports.stored import result


def runs(number: int = 4, mean: float = -100.0, **more: object) -> list[RunRecord]:
    rng = np.random.default_rng(0)
    return [result(64, run, mean + 50 * rng.standard_normal(64), **more) for run in range(1, number + 1)]


def test_the_error_is_the_one_of_the_mean_that_the_headline_names() -> None:
    some = runs(sampling_fraction=0.1)
    mean = mean_measurement(some)
    after = error_after(some, "10%")
    assert (after.se, after.fraction) == (mean.se, 0.1)
    assert after.allowed == pytest.approx(0.1 * abs(mean.value))


def test_reached_passes_and_not_reached_is_inconclusive_with_the_number_of_runs() -> None:
    some = runs()
    se = present(mean_measurement(some).se)
    assert reaches_target(some, f"{1.01 * se}").verdict == "pass"
    missed = reaches_target(some, f"{se / 3}")
    assert missed.verdict == "inconclusive"
    assert missed.effect == se
    assert missed.statistic == pytest.approx(3.0, rel=1e-4)
    assert missed.n == 256
    assert "for this update batch is" in missed.reason
    assert "after 4 runs, above --entropy-target-se" in missed.reason
    assert "to decide: --runs 37" in missed.reason or "to decide: --runs 36" in missed.reason
    share = reaches_target(some, "0.01%")
    assert "above --entropy-target-se 0.01% (" in share.reason


@pytest.mark.parametrize(
    ("after", "step", "words"),
    [
        (ErrorAfter(2.0, 1.0, 0.0), 1, "--runs 16"),
        (ErrorAfter(2.0, 1.0, 0.0), 2, "--runs 8"),
        # A prediction that says the runs are enough already was wrong.
        (ErrorAfter(1.0, 1.0, 0.0), 1, "--runs 5"),
        (ErrorAfter(2.0, 1.0, 0.5), 1, "more prompts"),
        (ErrorAfter(2.0, 0.0, 0.0), 1, "a target that is no share of δH₁, which is 0"),
    ],
)
def test_what_would_reach_the_target(after: ErrorAfter, step: int, words: str) -> None:
    assert more_runs(after, 4, step).startswith(words)


def test_a_run_without_an_error_reaches_nothing() -> None:
    one = [replace(runs(1)[0], se_conditional=None, variance_conditional=None)]
    outcome = reaches_target(one, "5")
    assert (outcome.verdict, outcome.effect, outcome.statistic) == ("inconclusive", None, None)


def test_the_record_says_the_target_only_where_it_is_configured() -> None:
    some = runs()
    settings = {"B_E_values": [64], "runs_per_batch": 8, "updates": 2}
    without = single_run_analysis(some, confidence=0.95, tolerance=0.1, batch=BatchConfig.model_validate(settings))
    assert "target" not in plain(without)
    asked = BatchConfig.model_validate({**settings, "target_se": "50%"})
    record = plain(single_run_analysis(some, confidence=0.95, tolerance=0.1, batch=asked))
    assert record["target"] == plain(target_reached(some, "50%", 16))
    assert record["target"]["reached"] is True
    assert record["target"]["most_runs"] == 16
