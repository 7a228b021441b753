"""A measured field by its name: a number is a number, and what is not there raises."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_entropy.records.measured import Measured, Missing, Undeclared
from tests.unit.reports.stored import result


def measured(*needs: str, **more: Any) -> Measured:
    return Measured(result(4, 2, np.arange(4.0), **more), needs)


def test_a_number_is_a_number() -> None:
    run = SimpleNamespace(B_E=4, run=2, agreement=SimpleNamespace())
    reading = Measured(run, ("agreement.gap",))  # type: ignore[arg-type]
    for value in (None, "0.0", True, [0.0], float("nan")):
        run.agreement.gap = value
        with pytest.raises(Missing, match=r"B_E 4 run 2 has no agreement\.gap"):
            reading.number("agreement.gap")
    run.agreement.gap = 0
    assert reading.number("agreement.gap") == 0.0


def test_a_name_that_no_run_could_have_is_an_error_of_the_check() -> None:
    with pytest.raises(AttributeError, match="gapp"):
        measured("agreement.gapp").number("agreement.gapp")


def test_what_is_not_declared_is_not_read() -> None:
    reading = measured("agreement.log_probs")
    assert reading.number("agreement.log_probs") == 1e-6
    for read in (reading.number, reading.scalars, reading.rows, reading.array, reading.has):
        with pytest.raises(Undeclared, match="a check reads eta, which its needs do not name: agreement.log_probs"):
            read("eta")
    with pytest.raises(Undeclared, match="reads asked"):
        reading.was_asked("definition")


def test_scalars_that_are_not_one_for_each_prompt_are_missing() -> None:
    short = measured("diagnostics.score", diagnostics={"score": [0.0]})
    with pytest.raises(Missing, match=r"has no diagnostics\.score for each of its prompts"):
        short.scalars("diagnostics.score")
    assert measured("per_prompt").scalars("per_prompt").tolist() == [0.0, 1.0, 2.0, 3.0]


def test_the_entropy_term_of_another_unit_is_never_taken_from_the_wrong_scalars() -> None:
    with pytest.raises(Missing, match="entropy_term"):
        measured("entropy_term", unit="nats per token").scalars("entropy_term")
    own = measured("entropy_term", unit="nats per token", diagnostics={"rao_blackwell": [1.0] * 4})
    assert own.scalars("entropy_term").tolist() == [1.0] * 4


def test_lists_arrays_and_what_was_asked() -> None:
    reading = measured("update.prompts", "update.rewards", "arrays.ranks", "asked", update={"prompts": ["a"]})
    assert reading.rows("update.prompts") == ["a"]
    with pytest.raises(Missing, match=r"no update\.rewards"):
        reading.rows("update.rewards")
    with pytest.raises(Missing, match="no array ranks"):
        reading.array("arrays.ranks")
    with pytest.raises(Missing, match="does not say which diagnostics were asked for"):
        reading.was_asked("definition")
    assert not reading.has("arrays.ranks")
    assert measured("asked", asked=["definition"]).was_asked("definition")
