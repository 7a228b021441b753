"""The fit of a + b/B_E against textbook weighted least squares, written out."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy.stats import RunScalars, fit_scaling


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
