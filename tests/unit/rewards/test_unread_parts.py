"""The note on rewards that do not read the whole answer, by calls on wrong completions made of the data's answers."""

from __future__ import annotations

import pytest

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards import math_verify, named_rewards
from pytest_entropy.rewards.unread_parts import unread_part


def rows(*answers: str) -> list[Prompt]:
    return [Prompt(f"q{n}", {"answer": answer}) for n, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("20 km", "20 cm"),
        ("5 cm", "5 kg"),
        ("3 pm", "3 cm"),
        ("2 million", "2 cm"),
        ("1011_2", "1011_3"),
        ("1_000", "1_001"),
        (r"2\mathbf{i}+3\mathbf{j}", r"2\mathbf{i}+4\mathbf{j}"),
    ],
)
def test_what_math_verify_ignores_is_said_with_its_row(answer: str, wrong: str) -> None:
    said = unread_part("math_verify", math_verify, rows("7", answer))
    assert said is not None
    assert "its highest value to 1 of 3 wrong completions, too" in said
    assert f"the first: row 2, prompt 'q1', answer {answer!r}, completion '\\boxed{{{wrong}}}'" in said


@pytest.mark.parametrize("name", named_rewards())
def test_answers_that_are_read_whole_need_no_note(name: str) -> None:
    of_numbers = rows("7", "-1.25", "1,200", "12%", "1e-3", r"$\boxed{19}$", "9" * 80)
    assert unread_part(name, named_rewards()[name].function, of_numbers) is None
    if name == "math_verify":
        mathematics = (r"\frac{1}{2}", "x = 3", r"\sqrt{3}", "2^{10}", r"[0,\infty)", "(1,2)", "2,3", "0.0000012")
        of_latex = rows(*mathematics)
        assert unread_part(name, math_verify, of_latex) is None


def test_other_functions_are_not_called() -> None:
    def never(completions: list[str], **columns: object) -> list[float]:
        raise AssertionError("called")

    assert unread_part("never", never, rows("7 km")) is None
