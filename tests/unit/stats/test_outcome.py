"""An outcome's words in code and its keys on disk, which stay those of schema version 1."""

from __future__ import annotations

import json
from dataclasses import fields
from statistics import NormalDist

import numpy as np
import pytest

from pytest_entropy import stats
from pytest_entropy.stats.outcome import OutcomeRecord, detectable_in_errors, is_blind, verdict_of

# As check_*.json had it before the attributes were renamed.
OLD = {
    "name": "score_identity", "null": "the mean is 0", "statistic": 1.5, "p_value": 0.2, "alpha": 1e-3, "effect": 0.1,
    "ci": [-0.1, 0.3], "unit": "nats", "n": 12, "verdict": "inconclusive", "smallest_detectable": 0.5,
    "declared_effect": 0.4, "samples_needed": 20, "points_to": "a sampler", "p_resolution": None, "reason": "",
}  # fmt: skip


def test_records_of_before_are_read_and_written_key_by_key() -> None:
    outcome = stats.CheckOutcome.from_dict(OLD)
    assert (outcome.minimum_detectable_effect, outcome.effect_of_interest) == (0.5, 0.4)
    assert outcome.likely_causes == "a sampler"
    assert json.dumps(outcome.to_dict()) == json.dumps(OLD)
    assert len(OutcomeRecord.__annotations__) == len(fields(stats.CheckOutcome))


def test_a_key_that_is_missing_or_unknown_is_refused() -> None:
    with pytest.raises(KeyError, match="ci"):
        stats.CheckOutcome.from_dict({key: value for key, value in OLD.items() if key != "ci"})
    with pytest.raises(TypeError, match="colour"):
        stats.CheckOutcome.from_dict(OLD | {"colour": "red"})


def test_numbers_are_plain_builtins() -> None:
    made = stats.CheckOutcome.from_dict(OLD | {"effect": np.float32(0.5), "n": np.int64(3)})
    assert type(made.effect) is float
    assert type(made.n) is int


def test_a_blind_sample_never_passes() -> None:
    assert verdict_of(1e-5, 1e-3, blind=True) == "fail"
    assert verdict_of(0.5, 1e-3, blind=True) == "inconclusive"
    assert verdict_of(0.5, 1e-3, blind=False) == "pass"
    assert is_blind(0.5, -0.4)
    assert not is_blind(0.5, 0.6)
    assert not is_blind(0.5, None)


@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (1e-4, 0.95), (0.3, 0.5)])
def test_a_detectable_effect_is_detected_as_often_as_it_says(alpha: float, power: float) -> None:
    threshold = NormalDist().inv_cdf(1 - alpha / 2)
    assert 1 - NormalDist(detectable_in_errors(alpha, power)).cdf(threshold) == pytest.approx(power)
