"""Runs on one small set of prompts: shuffles that share prompts as the runs do, and the error's two meanings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pytest_entropy import stats
from pytest_entropy.stats.outcome import CheckOutcome
from pytest_entropy.stats.recurrence import Recurrence, prompt_errors


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def runs_of(pool: int, count: int, between: float, seed: int, runs: int = 15) -> tuple[list[np.ndarray], list[Any]]:
    """(scalars, prompts) of runs that draw from one set; ``between`` of the variance is the prompts' own."""
    generator = rng(seed)
    own = generator.normal(size=pool)
    prompts = [generator.permutation(pool)[:count] for _ in range(runs)]
    s = [between**0.5 * own[p] + (1 - between) ** 0.5 * generator.normal(size=count) for p in prompts]
    return s, [p.tolist() for p in prompts]


def calibration(s: list[np.ndarray], prompts: Any, fraction: float, factor: float = 1.0) -> CheckOutcome:
    delta = [float(x.mean()) for x in s]
    se = [factor * float(x.std(ddof=1)) / len(x) ** 0.5 for x in s]
    return stats.check_se_calibration(
        s, delta, se, scale=1.0, alpha=1e-3, rng=rng(5), sampling_fraction=fraction, prompts=prompts,
        effect_of_interest=3.0,
    )  # fmt: skip


def test_a_shuffle_moves_answers_within_prompts_and_prompts_that_were_drawn_equally_often() -> None:
    prompts = [[1, 2, 3], [1, 2, 4]]
    found = Recurrence.of(prompts)
    pooled = np.array([10.0, 20, 30, 11, 21, 40])
    table = found.shuffled(pooled, 500, rng())
    twice, once = table[:, [0, 3, 1, 4]], table[:, [2, 5]]
    pairs = {frozenset(row[:2]) for row in twice.tolist()}
    assert pairs == {frozenset((10.0, 11.0)), frozenset((20.0, 21.0))}
    assert {tuple(row) for row in once.tolist()} == {(30.0, 40.0), (40.0, 30.0)}
    # Two prompts in both runs, each answered twice; two in one run each; and which run is which does not matter.
    assert math.exp(found.log_arrangements) == pytest.approx(2**2 * 2 / 2)
    assert found.recurs
    assert not Recurrence.of([[1], [2]]).recurs


@pytest.mark.parametrize(("pool", "count"), [(32, 32), (33, 32), (40, 32), (40, 8), (288, 32)])
@pytest.mark.parametrize("between", [0.0, 0.95])
def test_a_correct_probe_is_decided_on_any_set(pool: int, count: int, between: float) -> None:
    s, prompts = runs_of(pool, count, between, pool + count)
    assert calibration(s, prompts, count / pool).verdict == "pass"
    for factor in (1 / 5, 5):
        assert calibration(s, prompts, count / pool, factor).verdict == "fail"


def test_answers_that_do_not_differ_decide_nothing() -> None:
    s, prompts = runs_of(32, 32, 1.0, 1)
    outcome = calibration(s, prompts, 1.0)
    assert outcome.verdict == "inconclusive"
    assert "hardly differ" in outcome.reason
    with pytest.raises(ValueError, match="prompts and scalars differ in number"):
        calibration(s, prompts[1:], 1.0)


@pytest.mark.parametrize("between", [0.0, 0.5, 0.95])
def test_the_error_for_these_prompts_is_the_spread_over_runs(between: float) -> None:
    s, prompts = runs_of(40, 32, between, 3, runs=2000)
    se = float(np.sqrt(np.mean([x.var(ddof=1) / 32 for x in s])))
    errors = prompt_errors(se, 32, 0.8, s, prompts)
    assert errors is not None
    assert errors.is_estimated
    # The spread of 2000 runs is known to 1.6 %.
    assert errors.these_low == pytest.approx(np.std([x.mean() for x in s]), rel=0.08)
    assert errors.share_within == pytest.approx(1 - between, abs=0.2)
    assert errors.in_words().startswith("the ± is for prompts like these; for these 40 prompts themselves it is about")


def test_one_run_leaves_a_range() -> None:
    errors = prompt_errors(0.02, 30, 0.75)
    assert errors is not None
    assert errors.these_low == pytest.approx(0.01)
    assert (errors.these_high, errors.prompts) == (0.02, 40)
    assert not errors.is_estimated
    assert prompt_errors(0.02, 30, 0.0) is None
    few = prompt_errors(0.02, 32, 0.01)
    assert few is not None
    assert few.in_words() == ""
