"""The built-in rewards, on what models write and on what data sets hold."""

from __future__ import annotations

import threading
import time

import pytest

from pytest_entropy.rewards import boxed, exact_answer, gsm8k, math_verify, named_rewards
from pytest_entropy.rewards.builtin.base import PlainReward

BUILT_IN = {name: reward.function for name, reward in named_rewards().items()}


def score(reward: PlainReward, completion: str | list[dict[str, str]], answer: str | float | None) -> float | None:
    values: list[float | None] = reward(prompts=["?"], completions=[completion], answer=[answer], other=[None])
    (value,) = values
    return value


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        ("<answer>7</answer>", "7", 1.0),
        ("<think>3+4</think><answer> 7\n</answer>", "7", 1.0),
        ("<answer>7</answer>", 7, 1.0),
        ("<answer>7</answer>", 7.0, 1.0),
        ("<answer>7.0</answer>", "7", 1.0),
        ("<answer>1,234</answer>", 1234, 1.0),
        ("<answer>1,23</answer>", 123, 0.0),
        ("<answer>7</answer>", "3 + 4 = 7\n#### 7", 1.0),
        ("<answer>0.30</answer>", 0.3, 1.0),
        ("<answer>8</answer>", "7", 0.0),
        ("7", "7", 0.0),
        ("", "7", 0.0),
        ("<answer></answer>", "7", 0.0),
        ("<answer>1 0</answer>", "10", 0.0),
        ("<answer>7</answer><answer>7</answer>", "7", 0.0),
        ("<answer>7", "7", 0.0),
        ("<answer><b>x</b></answer>", "<b>x</b>", 1.0),
        ("<answer>nan</answer>", "nan", 1.0),
        ("<answer>inf</answer>", "1e999", 0.0),
        ("<answer>7</answer>", None, None),
    ],
)
def test_exact_answer(completion: str, answer: str | float | None, expected: float | None) -> None:
    assert score(exact_answer, completion, answer) == expected
    assert score(exact_answer, [{"role": "assistant", "content": completion}], answer) == expected


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        ("so it is\n#### 1,234", "reasoning\n#### 1234", 1.0),
        ("#### 3\nno, wait\n#### 4", "4", 1.0),
        ("#### $18.", "18", 1.0),
        ("#### -5", -5, 1.0),
        ("#### ", "4", 0.0),
        ("4", "4", 0.0),
        ("#### 4 apples", "4", 0.0),
        ("#### 4", None, None),
    ],
)
def test_gsm8k(completion: str, answer: str | int | None, expected: float | None) -> None:
    assert score(gsm8k, completion, answer) == expected


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        (r"\boxed{7}", "7", 1.0),
        (r"first \boxed{3}, then \boxed{ \frac{1}{2} }", r"\frac{1}{2}", 1.0),
        (r"\boxed{x_{1}^{2}}", r"the answer is $\boxed{x_{1}^{2}}$", 1.0),
        (r"\boxed{7} and an open \boxed{8", "7", 1.0),
        (r"\boxed{0.5}", r"\frac12", 0.0),
        (r"\boxed {7}", 7, 1.0),
        (r"\boxed{ (1,  2) }", "(1,2)", 1.0),
        (r"\boxed{1 \frac 12}", r"1\frac12", 1.0),
        (r"\boxed{1  1/2}", "1 1/2", 1.0),
        (r"\boxed{11/2}", "1 1/2", 0.0),
        (r"\boxed{1 1/2}", "11/2", 0.0),
        (r"\boxed{34}", "3 4", 0.0),
        (r"\boxed{2345}", "2, 345", 0.0),
        (r"\boxed{1234}", "1 234", 1.0),
        ("\\boxed{Cafe\u0301\u200b}", "Caf\u00e9", 1.0),
        ("\\boxed{7}", "\u200b7", 1.0),
        (r"boxed{7}", "7", 0.0),
        (r"\boxed{7}", None, None),
    ],
)
def test_boxed(completion: str, answer: str | int | None, expected: float | None) -> None:
    assert score(boxed, completion, answer) == expected


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        (r"\boxed{\frac12}", "0.5", 1.0),
        ("<think>1/4?</think><answer>1/2</answer>", r"$\frac{1}{2}$", 1.0),
        ("<answer>7</answer>", "3+4=7\n#### 7", 1.0),
        (r"\boxed{8}", "7", 0.0),
        ("I do not know", "7", 0.0),
        ("", "7", 0.0),
        ("7", "no mathematics here", None),
        # Small numbers differ, although math-verify compares six decimal places.
        (r"\boxed{9.1 \times 10^{-31}}", r"1.6 \times 10^{-19}", 0.0),
        (r"\boxed{1.6 \times 10^{-19}}", r"1.60 \times 10^{-19}", 1.0),
        (r"\boxed{0.0000014}", "0.0000012", 0.0),
        (r"\boxed{1.2 \cdot 10^{-6}}", "0.0000012", 1.0),
        (r"\boxed{0.333333}", r"\frac13", 1.0),
        (r"\boxed{0}", "0.0000012", 0.0),
        # Mixed numbers, exponents, powers, roots and degrees in plain text.
        (r"\boxed{3/2}", "1 1/2", 1.0),
        (r"\boxed{2\frac{3}{4}}", "2 3/4", 1.0),
        (r"\boxed{1}", "1 1/2", 0.0),
        (r"<answer>1 1/2</answer>", r"\frac32", 1.0),
        (r"\boxed{10^{-3}}", "1e-3", 1.0),
        (r"\boxed{\frac{1}{1000}}", "10^-3", 1.0),
        (r"\boxed{1024}", "2**10", 1.0),
        (r"\boxed{x^{2}}", "x**2", 1.0),
        (r"\boxed{2\sqrt{3}}", "2√3", 1.0),
        (r"\boxed{3\sqrt{13}}", "3*sqrt(13)", 1.0),
        (r"\boxed{100}", "10²", 1.0),
        (r"\boxed{45}", "45°", 1.0),
        (r"\boxed{45^\circ}", "45°", 1.0),
        ("It is **7**.", "7", 1.0),
        # Vectors, and what only looks like a difference.
        (r"\boxed{(1,2,3)}", r"\langle 1,2,3 \rangle", 1.0),
        (r"\boxed{\langle 1,2,4 \rangle}", r"\langle 1,2,3 \rangle", 0.0),
        (r"\boxed{2024-01-05}", "2024-01-05", 1.0),
        (r"\boxed{2024-05-01}", "2024-01-05", 0.0),
        (r"\boxed{2-1}", "3-2", 0.0),
        ("<answer>$10-12$</answer>", "10-12", 1.0),
        # A notation inside the block.
        (r"<answer>$\boxed{\$5.40}$</answer>", r"\$5.40", 1.0),
        (r"<answer>$\text{4 apples}$</answer>", r"\text{4 apples}", 1.0),
        (r"<answer>\boxed{8}</answer>", "7", 0.0),
        ("7", None, None),
    ],
)
def test_math_verify(completion: str, answer: str | None, expected: float | None) -> None:
    assert score(math_verify, completion, answer) == expected


def test_math_verify_asks_with_the_expected_answer_first() -> None:
    # math-verify is not symmetric: an interval is accepted for a relation, not the other way round.
    assert score(math_verify, "$(1,2)$", "$1 < x < 2$") == 1.0
    assert score(math_verify, "$1 < x < 2$", "$(1,2)$") == 0.0


def test_math_verify_off_the_main_thread_gives_the_same_and_needs_no_signals() -> None:
    values = []
    thread = threading.Thread(target=lambda: values.append(score(math_verify, r"\boxed{\frac12}", "0.5")))
    thread.start()
    thread.join(60)
    assert values == [1.0]


def test_a_comparison_without_end_is_not_equal_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pytest_entropy.rewards.builtin.math_verify._COMPARISON", 0.3)
    monkeypatch.setattr("math_verify.verify", lambda *a, **k: time.sleep(60))
    begun = time.monotonic()
    assert score(math_verify, "7", "7") == 0.0
    assert time.monotonic() - begun < 10
    assert "no end within 0.3 s" in caplog.text


@pytest.mark.parametrize("reward", list(BUILT_IN.values()), ids=list(BUILT_IN))
def test_hostile_completions_end_soon_and_score_nothing(reward: PlainReward) -> None:
    hostile = ["<answer>" * 20_000, "\\boxed{" * 3000, "#### " * 20_000, "{" * 100_000, "\0\ud7ff<script>", "9" * 5000]
    begun = time.monotonic()
    values = reward(prompts=["?"] * 6, completions=hostile, answer=["7"] * 6)
    assert values == [0.0] * 6
    assert time.monotonic() - begun < 40


EXPRESSIONS = [
    (r"2^{10}", r"\boxed{2}", r"\boxed{1024}"),
    (r"10\pi", r"\boxed{10}", r"\boxed{\pi \cdot 10}"),
    ("1+2i", r"\boxed{1}", r"\boxed{2i+1}"),
    (r"3\sqrt{13}", r"\boxed{3}", r"\boxed{\sqrt{117}}"),
    (r"1\frac{4}{5}", r"\boxed{4/5}", r"\boxed{9/5}"),
    ("y=2x", r"\boxed{2}", r"\boxed{2x=y}"),
    ("10!", r"\boxed{10}", r"\boxed{3628800}"),
    ("2,3", r"\boxed{2.3}", r"\boxed{3,2}"),
    (r"So it is $\boxed{3\sqrt{13}}$.", r"\boxed{3}", r"\boxed{\sqrt{117}}"),
    ("2^{10}", "<answer>2</answer>", "<answer>1024</answer>"),
    ("2", "<answer>2^{10}</answer>", "<answer>2</answer>"),
    ("1024", "<answer>2</answer>", "<answer>2^{10}</answer>"),
    ("1,234", r"\boxed{1}", r"\boxed{1234}"),
    ("50%", r"\boxed{5}", r"\boxed{50\%}"),
]


@pytest.mark.parametrize(("gold", "wrong", "right"), EXPRESSIONS)
def test_an_expression_is_not_one_of_its_numbers(gold: str, wrong: str, right: str) -> None:
    """Bare LaTeX that begins with a digit or a letter is read as a whole, in the data and in a completion."""
    assert math_verify(["p", "p"], [wrong, right], [gold, gold]) == [0.0, 1.0]
