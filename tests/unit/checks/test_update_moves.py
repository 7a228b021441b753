"""Real probes on update batches with equal rewards: every experiment says that the update moves nothing, and why."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_entropy.checkpoints import load_checkpoint
from pytest_entropy.checkpoints.load import Checkpoint
from pytest_entropy.checks.summaries import debug, sanity_check, single_run
from pytest_entropy.checks.summaries.convergence import convergence
from pytest_entropy.checks.update_moves import CHECK as update_moves
from pytest_entropy.checks.update_moves import with_update_warning
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.run import RunRecord
from pytest_entropy.rewards import RewardFunction, RewardTerm, WeightedRewards
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.stats import Inconclusive, require
from tests.length_reward import length
from tests.present import present

PROMPTS = [Prompt(f"{n} apples", {"answer": f"<answer>{n}</answer>"}) for n in range(30)]


def zero(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [0.0] * len(completions)


def tenth(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [0.1] * len(completions)


def by_prompt(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(prompt) % 2) for prompt in prompts]


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(checkpoint)


def runs(
    loaded: Checkpoint, reward: RewardFunction, *, sizes: tuple[int, ...] = (4, 6), **settings: Any
) -> list[RunRecord]:
    """Two runs per size by the real probe."""
    config = ProbeConfig(B_U=4, G=3, max_new_tokens=4, **settings)
    probe = EntropyProbe(loaded, config, prompts=PROMPTS, reward=reward)
    return [probe.run(size, 0, run=run) for size in sizes for run in (1, 2)]


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (zero, "every group of the update batch has equal rewards: all 12 are 0"),
        # Of which the mean is not 0.1 to the last bit, so that advantages are not exactly zero.
        (tenth, "every group of the update batch has equal rewards: all 12 are 0.1"),
        (by_prompt, "each prompt's 3, which differ between prompts only (0 to 1)"),
    ],
    ids=["zero", "tenth", "by prompt"],
)
def test_equal_rewards_are_said_and_shown(
    loaded: Checkpoint, caplog: pytest.LogCaptureFixture, reward: PlainReward, said: str
) -> None:
    with caplog.at_level(logging.WARNING):
        found = runs(loaded, reward)
    assert "the update batch has no gradient: every group" in caplog.text
    assert said in caplog.text
    outcome = update_moves.check(found)
    with pytest.raises(Inconclusive) as raised:
        require(outcome)
    sample = found[0].update.sample
    assert len(sample) == 2
    for part in sample:
        assert f"prompt: {part.prompt}" in str(raised.value)
        assert f"completion: {part.completion}" in str(raised.value)
        assert f"answer: <answer>{part.prompt.split()[0]}</answer>" in str(raised.value)
    assert said in str(raised.value)
    assert ("does the reward read what responses and answers hold" in str(raised.value)) == (reward is not by_prompt)
    rng = np.random.default_rng(0)
    verdict, record = convergence(found, alpha=1e-3, confidence=0.95, tolerance=0.1, rng=rng)
    reasons = [
        verdict.reason,
        record.reason,
        single_run.conclusion(found)[1],
        debug.conclusion(found)[1],
        sanity_check.conclusion(found, len(found))[1],
    ]
    for reason in reasons:
        assert reason.startswith("the update moves nothing (")
        assert said in reason


def test_a_record_from_before_has_no_sample(loaded: Checkpoint) -> None:
    (run, *_) = runs(loaded, zero, sizes=(4,))
    record: dict[str, Any] = run.to_dict()
    del record["update"]["sample"]
    found = [RunRecord.from_dict(record)]
    assert "all 12 are 0" in update_moves.check(found).likely_causes
    assert "sample 1" not in update_moves.check(found).likely_causes


def test_an_update_that_moves_has_no_sample_and_changes_no_sentence(loaded: Checkpoint) -> None:
    found = runs(loaded, length, sizes=(4,))
    assert found[0].update.sample == []
    assert update_moves.check(found).verdict == "pass"
    assert with_update_warning(found, "as measured") == "as measured"


@pytest.mark.parametrize(
    ("term", "said", "shown"),
    [
        (zero, "all 12 are 0", {0.0}),
        (tenth, "all 12 are 0.1", {0.1}),
        (by_prompt, "each prompt's 3, which differ between prompts only (0 to 1)", {0.0, 1.0}),
        (lambda completions, **columns: [None] * len(completions), "all 12 are None", {None}),
    ],
    ids=["zero", "tenth", "by prompt", "none"],
)
def test_a_reward_that_another_hides_is_said_by_itself(
    loaded: Checkpoint, caplog: pytest.LogCaptureFixture, term: PlainReward, said: str, shown: set[float | None]
) -> None:
    both = WeightedRewards((RewardTerm(length, "length"), RewardTerm(term, "other", 0.5)))
    with caplog.at_level(logging.INFO):
        found = runs(loaded, both, sizes=(4,))
    assert f"reward other adds nothing to the update: {said}; a sample: [Sample(prompt='" in caplog.text
    (still,) = found[0].update.still_terms
    assert (still.name, still.equal) == ("other", said)
    assert {part.reward for part in still.sample} == shown
    assert found[0].update.sample == []
    assert update_moves.check(found).verdict == "pass"
    begins = f"reward other adds nothing to the update ({said}; a sample is in the report); "
    assert with_update_warning(found, "as measured") == begins + "as measured"
    assert single_run.conclusion(found)[1].startswith(begins)
    assert [run.slim().update.still_terms for run in found] == [run.update.still_terms for run in found]


def test_a_term_that_is_not_weighed_or_differs_is_not_said(loaded: Checkpoint) -> None:
    terms = RewardTerm(length, "length"), RewardTerm(zero, "zero", 0.0), RewardTerm(lambda **_: [1, 2, 3] * 4, "three")
    assert runs(loaded, WeightedRewards(terms), sizes=(4,))[0].update.still_terms == []


def test_the_log_shows_what_was_rewarded(loaded: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = runs(loaded, length, sizes=(4,))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("rewarded: ")]
    shown = [
        re.fullmatch(r"rewarded: prompt (\d+) apples; completion .*; answer <answer>(\d+)</answer>; reward (.*)", one)
        for one in lines
    ]
    assert all(match is not None and match[1] == match[2] for match in shown)
    rewards = [round(value, 5) for group in found[0].update.rewards for value in group]
    assert round(float(present(shown[0])[3]), 5) == rewards[0]
    assert present(shown[0])[3] != present(shown[1])[3]


def test_momentum_moves_on_without_a_gradient(loaded: Checkpoint) -> None:
    found = runs(loaded, zero, sizes=(4,), update_rule="adamw")
    assert present(found[0].update.direction_norm) > 0
    assert update_moves.check(found).verdict == "inconclusive"
    assert with_update_warning(found, "x").startswith(
        "only the optimizer's momentum and weight decay move anything (every group"
    )


def test_single_batches_are_judged_one_by_one(loaded: Checkpoint) -> None:
    settings: dict[str, Any] = {"mode": "u_statistic", "estimator": "rao_blackwell", "sizes": (4,)}
    still, moving = runs(loaded, zero, **settings), runs(loaded, length, **settings)
    assert update_moves.check(still).verdict == "inconclusive"
    assert len(still[0].update.sample) == 2
    assert update_moves.check([*still, *moving]).verdict == "pass"
    assert with_update_warning([*still, *moving], "x").startswith(
        "the update moves nothing in 2 of 4 runs (every group"
    )
