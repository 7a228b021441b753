"""Statistics on plain numbers: scaling fit, checks with error rates, error budget.  numpy and scipy only.

Every check that samples is a triple: ``check_`` and ``assert_``, ``min_discrepancy_`` (the smallest effect that n
samples can detect) and ``min_num_samples_`` (the n at which an effect is detected).  See docs/statistics.md.
"""

from pytest_entropy.stats.agreement import assert_within_noise, check_within_noise
from pytest_entropy.stats.budget import split_budget
from pytest_entropy.stats.calibration import assert_se_calibration, check_se_calibration
from pytest_entropy.stats.calibration_power import min_discrepancy_se_calibration, min_num_samples_se_calibration
from pytest_entropy.stats.convergence import (
    ScalingVerdict,
    assert_convergence,
    check_convergence,
    min_discrepancy_convergence,
    min_num_samples_convergence,
    scaling_verdict,
)
from pytest_entropy.stats.difference import (
    assert_equivalent,
    assert_mean_difference,
    check_equivalent,
    check_mean_difference,
    min_discrepancy_equivalent,
    min_discrepancy_mean_difference,
    min_num_samples_equivalent,
    min_num_samples_mean_difference,
)
from pytest_entropy.stats.guarded_t import p_values_mean_zero
from pytest_entropy.stats.likelihood_ratio import (
    assert_likelihood_ratio,
    check_likelihood_ratio,
    min_discrepancy_likelihood_ratio,
    min_num_samples_likelihood_ratio,
)
from pytest_entropy.stats.mean import (
    FEWEST_EVENTS,
    assert_mean_zero,
    check_mean_zero,
    min_discrepancy_mean_zero,
    min_num_samples_mean_zero,
)
from pytest_entropy.stats.measurement import Measurement
from pytest_entropy.stats.outcome import CheckOutcome, Inconclusive, StatisticalFailure, require
from pytest_entropy.stats.pooling import measurements, pool
from pytest_entropy.stats.probability_integral_transform import (
    assert_uniform_pit,
    check_uniform_pit,
    min_discrepancy_uniform_pit,
    min_num_samples_uniform_pit,
)
from pytest_entropy.stats.recurrence import PromptErrors, prompt_errors
from pytest_entropy.stats.scaling import RunScalars, ScalingFit, fit_scaling, seed_fields
from pytest_entropy.stats.se_slope import (
    assert_se_slope,
    check_se_slope,
    min_discrepancy_se_slope,
    min_num_samples_se_slope,
)
from pytest_entropy.stats.signal import format_error, format_measure, signal_to_noise
from pytest_entropy.stats.uniform import (
    assert_uniform_p_values,
    check_uniform_p_values,
    min_discrepancy_uniform_p_values,
    min_num_samples_uniform_p_values,
)

__all__ = [
    "FEWEST_EVENTS",
    "CheckOutcome",
    "Inconclusive",
    "Measurement",
    "PromptErrors",
    "RunScalars",
    "ScalingFit",
    "ScalingVerdict",
    "StatisticalFailure",
    "assert_convergence",
    "assert_equivalent",
    "assert_mean_difference",
    "assert_likelihood_ratio",
    "assert_mean_zero",
    "assert_se_calibration",
    "assert_se_slope",
    "assert_uniform_p_values",
    "assert_uniform_pit",
    "assert_within_noise",
    "check_convergence",
    "check_equivalent",
    "check_mean_difference",
    "check_likelihood_ratio",
    "check_mean_zero",
    "check_se_calibration",
    "check_se_slope",
    "check_uniform_p_values",
    "check_uniform_pit",
    "check_within_noise",
    "fit_scaling",
    "format_error",
    "format_measure",
    "min_discrepancy_convergence",
    "min_discrepancy_equivalent",
    "min_discrepancy_mean_difference",
    "min_discrepancy_likelihood_ratio",
    "min_discrepancy_mean_zero",
    "min_discrepancy_se_calibration",
    "min_discrepancy_se_slope",
    "min_discrepancy_uniform_p_values",
    "min_discrepancy_uniform_pit",
    "min_num_samples_convergence",
    "min_num_samples_equivalent",
    "min_num_samples_mean_difference",
    "min_num_samples_likelihood_ratio",
    "min_num_samples_mean_zero",
    "min_num_samples_se_calibration",
    "min_num_samples_se_slope",
    "min_num_samples_uniform_p_values",
    "min_num_samples_uniform_pit",
    "p_values_mean_zero",
    "measurements",
    "pool",
    "prompt_errors",
    "require",
    "scaling_verdict",
    "seed_fields",
    "signal_to_noise",
    "split_budget",
]
