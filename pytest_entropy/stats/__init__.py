"""The mathematics on numbers: scaling fit, checks with error rates, error budget.  numpy and scipy only."""

from pytest_entropy.stats.agreement import check_within_noise
from pytest_entropy.stats.budget import split_budget
from pytest_entropy.stats.calibration import (
    check_se_calibration,
    min_discrepancy_se_calibration,
    min_num_samples_se_calibration,
)
from pytest_entropy.stats.mean import (
    assert_mean_zero,
    check_mean_zero,
    min_discrepancy_mean_zero,
    min_num_samples_mean_zero,
)
from pytest_entropy.stats.outcome import CheckOutcome, Inconclusive, StatisticalFailure, require
from pytest_entropy.stats.pit import (
    check_uniform_pit,
    min_discrepancy_uniform_pit,
    min_num_samples_uniform_pit,
)
from pytest_entropy.stats.scaling import (
    RunScalars,
    ScalingFit,
    ScalingVerdict,
    check_se_slope,
    fit_scaling,
    scaling_verdict,
    seed_fields,
)
from pytest_entropy.stats.signal import format_measure, signal_to_noise

__all__ = [
    "CheckOutcome",
    "Inconclusive",
    "RunScalars",
    "ScalingFit",
    "ScalingVerdict",
    "StatisticalFailure",
    "assert_mean_zero",
    "check_mean_zero",
    "check_se_calibration",
    "check_se_slope",
    "check_uniform_pit",
    "check_within_noise",
    "fit_scaling",
    "format_measure",
    "min_discrepancy_mean_zero",
    "min_discrepancy_se_calibration",
    "min_discrepancy_uniform_pit",
    "min_num_samples_mean_zero",
    "min_num_samples_se_calibration",
    "min_num_samples_uniform_pit",
    "require",
    "scaling_verdict",
    "seed_fields",
    "signal_to_noise",
    "split_budget",
]
