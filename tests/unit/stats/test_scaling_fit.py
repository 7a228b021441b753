"""The fit of a + b/B_E against textbook weighted least squares, written out."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy.stats import RunScalars, fit_scaling, scaling_verdict
from tests.present import present


def test_weights_are_proportional_to_the_batch_size_and_the_spread_is_pooled_within_runs() -> None:
    rng = np.random.default_rng(0)
    sizes = [4, 4, 8, 16, 32, 32]
    runs = [RunScalars(size, run, rng.lognormal(size=size), 0.5) for run, size in enumerate(sizes)]
    fit = fit_scaling(runs, rng=rng, bootstrap=10, shuffles=19)
    root = np.sqrt(sizes)
    design = np.stack([root, root / np.array(sizes)], axis=1)
    expected = np.linalg.lstsq(design, root * np.array([run.delta for run in runs]), rcond=None)[0]
    within = sum(0.25 * run.s.var(ddof=1) * (run.B_E - 1) for run in runs) / (sum(sizes) - len(sizes))
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * within)
    assert (fit.a, fit.b, fit.sigma**2) == pytest.approx((*expected, within))
    assert (fit.se_a, fit.se_b) == pytest.approx(tuple(errors))


def test_intervals_of_the_fit_and_of_its_bootstrap_agree_on_normal_scalars() -> None:
    rng = np.random.default_rng(1)
    runs = [RunScalars(size, run, 1 + rng.normal(size=size), 0.5) for run, size in enumerate([16, 16, 64, 64, 256])]
    fit = fit_scaling(runs, rng=rng, bootstrap=4000, shuffles=19)
    for value, se, own, again in (
        (fit.a, fit.se_a, fit.ci_a, fit.bootstrap_t_ci_a),
        (fit.b, fit.se_b, fit.ci_b, fit.bootstrap_t_ci_b),
    ):
        low, high = present(own)
        assert low < present(value) < high
        assert np.array(again) == pytest.approx(np.array(own), abs=0.25 * present(se))


def test_so_few_prompts_have_a_fit_but_no_intervals_and_no_verdict() -> None:
    rng = np.random.default_rng(2)
    runs = [RunScalars(size, run, 1 + rng.normal(size=size), 1.0) for run, size in enumerate([8, 8, 12])]
    fit = fit_scaling(runs, rng=rng, bootstrap=10, shuffles=19)
    assert present(fit.se_a) > 0
    assert (fit.ci_a, fit.ci_b, fit.bootstrap_t_ci_a, fit.bootstrap_t_ci_b) == (None, None, None, None)
    verdict = scaling_verdict(fit, alpha=0.01)
    assert verdict.verdict == "inconclusive"
    assert "no interval: 28 prompts are too few" in verdict.reason


def test_equal_scalars_have_intervals_of_no_width() -> None:
    runs = [RunScalars(size, run, np.ones(size), 1.0) for run, size in enumerate([16, 32])]
    fit = fit_scaling(runs, rng=np.random.default_rng(0), bootstrap=10, shuffles=19)
    assert present(fit.ci_a) == present(fit.bootstrap_t_ci_a) == pytest.approx((1.0, 1.0))
