"""What each check of the runs has to be able to see: too few prompts, or too few runs, are never a pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from pytest_entropy.checks import effects_of_interest as declared
from pytest_entropy.checks import validation

SHARE = 1.25e-4


@dataclass
class Run:
    """What the analyses take of a run: derivatives of mean -100, and diagnostics whose null hypotheses hold."""

    entropy_term: np.ndarray
    diagnostics: dict[str, np.ndarray] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    eta: float = 1e-3
    estimator: str = "action_value"
    run: int = 1
    expected_surprises: float | None = 1e4
    sampling_fraction: float | None = 0.0

    def __post_init__(self):
        self.per_prompt, self.B_E = self.entropy_term, len(self.entropy_term)
        self.delta_h1 = self.eta * float(np.mean(self.per_prompt))
        self.se_conditional = self.eta * float(np.std(self.per_prompt, ddof=1)) / len(self.per_prompt) ** 0.5


def runs_of(count, prompts, mean=-100.0, seed=0):
    rng = np.random.default_rng(seed)

    def one():
        s = mean + 50 * rng.standard_normal(prompts)
        noisy = {name: s + 60 * rng.standard_normal(prompts) for name in ("reinforce_loo", "entropy_slope")}
        tokens = {"ranks": rng.random(20 * prompts), "surprisal_sd": 0.5 + rng.random(20 * prompts)}
        return Run(s, {**noisy, "score": 30 * rng.standard_normal(prompts)}, tokens)

    return [one() for _ in range(count)]


CHECKS = {
    "score": lambda runs: validation.score_identity(runs, alpha=SHARE),
    "surprisal": lambda runs: validation.surprisal_identity(runs, alpha=SHARE),
    "agreement": lambda runs: validation.estimator_agreement(runs, alpha=SHARE),
    "first order": lambda runs: validation.first_order_accuracy(runs, alpha=SHARE),
    "calibration": lambda runs: validation.se_calibration(runs, alpha=SHARE, rng=np.random.default_rng(1)),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_sample_that_could_not_have_seen_the_fault_is_inconclusive(name):
    few = CHECKS[name](runs_of(2, 3))
    assert few.verdict == "inconclusive"
    assert few.samples_needed is not None
    enough = CHECKS[name](runs_of(15, 32))
    assert enough.verdict == "pass"
    assert enough.minimum_detectable_effect <= enough.effect_of_interest


def test_effects_are_those_of_named_faults():
    runs = runs_of(4, 200)
    mean = float(np.mean([run.entropy_term for run in runs]))
    assert declared.wrong_factor(runs) == pytest.approx(-mean)
    assert declared.wrong_sign(runs) == pytest.approx(-2 * mean)
    assert declared.temperature_in_scores(runs) == pytest.approx(-mean * (1 / 0.7 - 1))
    even = [Run(run.entropy_term, arrays={"surprisal_sd": np.full(9, 0.5)}) for run in runs]
    assert declared.temperature_in_ranks(even) == pytest.approx(0.5 * (1 / 0.7 - 1))


def test_an_update_that_moves_nothing_has_no_such_effect():
    still = [Run(np.zeros(8), {"score": np.zeros(8)}, {"surprisal_sd": np.zeros(3)})]
    effects = (
        declared.wrong_factor,
        declared.wrong_sign,
        declared.temperature_in_scores,
        declared.temperature_in_ranks,
    )
    assert [effect(still) for effect in effects] == [None] * 4
    assert validation.score_identity(still, alpha=SHARE).verdict == "inconclusive"
