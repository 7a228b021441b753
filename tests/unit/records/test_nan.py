"""A number that is NaN is not measured: None in the record, and left out or null on disk."""

from __future__ import annotations

import math

from pytest_entropy.records.diagnostics import Diagnostics, SingleBatchParts
from pytest_entropy.records.serialization import plain
from pytest_entropy.records.update import UpdateRecord


def test_nan_is_none_in_the_records_of_discrepancies() -> None:
    assert Diagnostics(definition=math.nan, log_probs=0.5).definition is None
    assert plain(Diagnostics(definition=math.nan, log_probs=0.5)) == {"log_probs": 0.5}
    assert plain(SingleBatchParts(diagonal_gap=math.nan, blocks=3)) == {"blocks": 3}
    assert UpdateRecord(oracle_gap=math.nan, loss_slope_gap=0.0).to_dict()["oracle_gap"] is None


def test_infinity_stays_a_number_that_fails() -> None:
    assert Diagnostics(definition=math.inf).definition == math.inf
