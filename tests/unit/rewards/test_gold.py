"""Expected answers as data sets have them: what counts as one, in which forms, and what is refused with its row."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt, prompts_from_rows
from pytest_entropy.rewards import (
    boxed,
    evaluate,
    exact_answer,
    gsm8k,
    math_verify,
    named_rewards,
    require_answers,
    require_columns,
    reward_discrepancy,
)
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.gold import FIELDS, NoGold, accepted_answers

BUILT_IN = {name: reward.function for name, reward in named_rewards().items()}

WRITTEN: dict[PlainReward, str] = {
    exact_answer: "<answer>{}</answer>",
    gsm8k: "so\n#### {}",
    boxed: r"\boxed{{{}}}",
    math_verify: r"\boxed{{{}}}",
}
SEVEN = {
    "text": "7",
    "block": "<answer>7</answer>",
    "block with reasoning": "<think>3 + 4 or <answer>8</answer>?</think>\n<answer> 7 </answer>",
    "box": r"\boxed{7}",
    "box in a solution": r"First $\boxed{3}$, then $\frac{14}{2} = \boxed{7}$.",
    "fbox": r"\fbox{7}",
    "box without braces": r"so it is $\boxed 7$.",
    "box in a block": r"<answer>$\boxed{7}$</answer>",
    "GSM8K": "3 + 4 = <<3+4=7>>7\n#### 7",
    "GSM8K, money": "3 + 4\n#### $7.00",
    "box after hashes": r"#### \boxed{7}",
    "int": 7,
    "float": 7.0,
    "fraction": Fraction(7),
    "numpy": np.int64(7),
    "float32": np.float32(7),
    "torch": torch.tensor(7),
    "list": ["eight", "7"],
    "tuple": ("7",),
    "array": np.array(["8", "7"]),
    "array of numbers": np.array([8.0, 7.0]),
    "list with nulls, as tables have them": ["7", None, ""],
    "list of blocks": ["<answer>8</answer>", r"\boxed{7}"],
    "target": {"target": ["8", "7"]},
    "ground truth": {"ground_truth": "7", "style": "rule"},
    "nested": {"style": "rule", "ground_truth": {"target": np.array(["8", "7"], dtype=object)}},
    "nulls of a table": {"target": None, "answer": "7"},
    "solution": {"level": 3, "solution": r"\boxed{7}"},
    "JSON struct": '{"target": ["8", "7"], "level": 3}',
    "JSON list": '["8", "7"]',
    "JSON list of one": "[7]",
    "JSON in a struct": {"ground_truth": '["7"]'},
}  # fmt: skip


@pytest.mark.parametrize("reward", list(WRITTEN), ids=lambda reward: reward.__name__)
@pytest.mark.parametrize("case", list(SEVEN))
def test_every_notation_of_seven(reward: PlainReward, case: str) -> None:
    texts = [[WRITTEN[reward].format(7), WRITTEN[reward].format(3), "7"]]
    prompts = [Prompt("3 + 4?", {"answer": SEVEN[case]})]
    rewards = evaluate(reward, prompts, texts)
    # math-verify looks for the answer in plain text, too.
    assert rewards == [[1.0, 0.0, float(reward is math_verify)]]
    assert reward_discrepancy(reward, prompts, texts, rewards) == 0.0


@pytest.mark.parametrize(
    ("reward", "completion", "gold", "expected"),
    [
        (exact_answer, "<answer>D</answer>", "<answer>D</answer>", 1.0),
        (exact_answer, "<answer>D</answer>", "<answer>C</answer>", 0.0),
        (exact_answer, "<answer>1234</answer>", "…\n#### 1,234", 1.0),
        (exact_answer, "<answer>$1,234</answer>", "…\n#### $1,234", 1.0),
        (exact_answer, "<answer>0.1</answer>", np.float32(0.1), 1.0),
        (exact_answer, "<answer>10000000000000000</answer>", 1e16, 1.0),
        (exact_answer, "<answer>True</answer>", True, 1.0),
        (exact_answer, "<answer>true</answer>", {"answer": True}, 1.0),
        # An answer that has such text in it is itself the answer.
        (exact_answer, "<answer>use #### twice</answer>", "use #### twice", 1.0),
        (exact_answer, r"<answer>\boxed{x}</answer>", r"\boxed{x}", 1.0),
        (exact_answer, "<answer>####</answer>", "#### ", 1.0),
        (exact_answer, "<answer>[1, 2]</answer>", "[1, 2]", 1.0),
        (exact_answer, "<answer>1</answer>", "[1, 2]", 0.0),
        (exact_answer, '<answer>["a", "b"]</answer>', '["a", "b"]', 1.0),
        (exact_answer, '<answer>{"a": 1}</answer>', '{"a": 1}', 1.0),
        (exact_answer, "<answer>{1, 2}</answer>", "{1, 2}", 1.0),
        (boxed, r"\boxed{\frac{1}{2}}", r"it is $\boxed{\frac{1}{2}}$", 1.0),
        (boxed, r"\boxed{\frac{1}{2}}", r"\boxed{\text{no}} or rather \boxed{ \frac{1} {2} }", 1.0),
        # What a completion's notation is stays what it was.
        (boxed, r"\fbox{7}", "7", 0.0),
        (exact_answer, r"<answer>\boxed{7}</answer>", "7", 0.0),
        (math_verify, r"\boxed{\sqrt{2}}", r"so $x = \boxed{\sqrt{2}}$", 1.0),
        (math_verify, r"<answer>\sqrt{2}</answer>", r"\sqrt{2}", 1.0),
        (math_verify, r"\boxed{D}", "<answer>D</answer>", 1.0),
        (math_verify, "<answer>2</answer>", "[1, 2]", 0.0),
        (math_verify, r"\boxed{[1,2]}", "[1, 2]", 1.0),
        (math_verify, r"\boxed{3}", '{"target": "7", "level": 3}', 0.0),
        (math_verify, r"\boxed{5}", r"5 + 2 = 7, so \boxed{7}", 0.0),
        (math_verify, r"\boxed{olleh}", "hello", None),
        (math_verify, "7", ["no mathematics", "7"], 1.0),
    ],
)
def test_what_counts_and_what_does_not(
    reward: PlainReward, completion: str, gold: object, expected: float | None
) -> None:
    assert reward(prompts=["?"], completions=[completion], answer=[gold]) == [expected]


class Image:
    def __repr__(self) -> str:
        return f"<Image\x1b[2J {'x' * 500}>"


NONE: dict[str, tuple[object, str]] = {
    "null": (None, "None is not an answer"),
    "empty": (" \n", "' .n' is empty"),
    "empty list": ([], r"\[\] holds no answer"),
    "nulls": ([None, ""], r"\[None, ''\] holds no answer"),
    "empty array": (np.array([]), "holds no answer"),
    "not a number": (float("nan"), "a missing value"),
    "struct": (
        {"text": ["7"], "start": [0]},
        r"\{'start': \[0\], 'text': \['7'\]\} has none of the fields ground_truth",
    ),
    "struct in a list": ([{"a": 1}], "has none of the fields"),
    "empty field": ({"target": []}, "has none of the fields"),
    "bytes": (b"7", "b'7' is neither text, a number"),
    "image": (Image(), r"Image <Image\\x1b.2J x+[.]{3}x+> is neither text"),
    "too deep": ([[[[["7"]]]]], "is nested too deeply"),
}


@pytest.mark.parametrize("case", list(NONE))
def test_what_is_no_gold_is_refused_with_its_content(case: str) -> None:
    value, message = NONE[case]
    with pytest.raises(NoGold, match=message) as raised:
        accepted_answers(value)
    assert len(str(raised.value)) < 300


def rows(count: int, bad: tuple[int, ...] = (), gold: dict[str, str | int] | None = None) -> list[Prompt]:
    return [Prompt(f"question {n}", {"answer": gold if n in bad else str(n)}) for n in range(1, count + 1)]


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_rows_without_a_readable_answer_are_refused_while_planning(name: str) -> None:
    require_columns(name, BUILT_IN[name], rows(20))
    with pytest.raises(UsageError) as raised:
        require_columns(name, BUILT_IN[name], rows(20, bad=(7, 9), gold={"text": "7"}))
    assert f"reward {name} cannot read the answer of 2 of 20 rows (the first: row 7, prompt 'question 7': " in str(
        raised.value
    )
    assert "{'text': '7'} has none of the fields" in str(raised.value)
    assert "prompts.answer_column" in str(raised.value)


def test_of_many_rows_planning_reads_some_and_a_run_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    everything: list[str] = []

    def reading(gold: str) -> list[tuple[str, ...]]:
        everything.append(gold)
        return accepted_answers(gold)

    monkeypatch.setattr("pytest_entropy.rewards.gold_rows.accepted_answers", reading)
    many = rows(100_000)
    require_columns("gsm8k", gsm8k, many)
    read = list(dict.fromkeys(everything))
    assert len(read) == 2000
    assert read[:1000] == [str(n) for n in range(1, 1001)]
    assert int(read[-1]) > 99_800, "to the end"
    monkeypatch.undo()
    some = rows(5000, bad=(4444,), gold={"a": 1})
    require_columns("gsm8k", gsm8k, some)
    with pytest.raises(RunError, match=r"reward gsm8k cannot read the answer of 1 of 5000 rows .the first: row 4444, "):
        require_answers("gsm8k", gsm8k, some)
    require_answers("own", lambda completions, **columns: [0.0], some)


def test_the_last_resort_is_a_failed_run_that_shows_prompt_and_gold() -> None:
    """Sets that make their prompts on demand are looked at nowhere else."""
    prompts = [Prompt("1 + 1", {"answer": "2"}), Prompt("3 + 4", {"answer": {"a": 1}})]
    with pytest.raises(RunError, match=r"reward gsm8k raised NoGold: \{'a': 1\} has none of the fields(.|\n)*'a': 1"):
        evaluate(gsm8k, prompts, [["#### 2"], ["#### 7"]])


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_structs_and_what_verl_has(field: str) -> None:
    assert accepted_answers({field: "7", "text": "8"}) == [("7",)]
    assert accepted_answers(json.dumps({field: "7", "text": "8"}))[0][-1] == "7"
    (prompt,) = prompts_from_rows(
        [("row 1", {"prompt": "?", "reward_model": {"style": "rule", "ground_truth": {field: ["7"]}}})], source="a"
    )
    assert accepted_answers(prompt.columns["answer"]) == [("7",)]


@pytest.mark.parametrize(
    "gold",
    [
        "Ans: 7", "ans. : 7", "Result: 7", "= 7", "*7*", "__7__", "«7»", "‘7’", "[ANSWER]7[/ANSWER]", r"\boxed7",
        r"\framebox{7}", "### Answer\n7", "**Answer**\n7", "Answer\n\n7", '```json\n{"answer": 7}\n```',
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": [{"type": "text", "text": "#### 7"}]}],
    ],
)  # fmt: skip
def test_notations_of_other_writers(gold: Any) -> None:
    (forms,) = accepted_answers(gold)
    assert forms[-1] == "7"


@pytest.mark.parametrize("text", ["== 7", "2*3", "__init__", "[a]7[/b]", "the result of 3 and 4", "an answer"])
def test_what_only_looks_like_a_notation(text: str) -> None:
    assert accepted_answers(text)[0][-1] == {"__init__": "init"}.get(text, text)


@pytest.mark.parametrize("gold", ["[[1, 2]]", "[[3, 4], [5, 6]]"])
def test_a_matrix_is_one_answer_and_not_its_entries(gold: str) -> None:
    assert accepted_answers(gold) == [(gold,)]


def test_hashes_in_a_sentence_are_part_of_it() -> None:
    assert accepted_answers("Use #### for headings") == [("Use #### for headings",)]
    assert accepted_answers("so #### 7")[0][-1] == "7"
    assert accepted_answers("so\n#### $1,000")[0][-1] == "$1,000"
    assert accepted_answers("so\n#### yes")[0][-1] == "yes"


def test_a_field_that_holds_an_empty_list_is_empty() -> None:
    assert accepted_answers({"ground_truth": [], "answer": "7"}) == [("7",)]
