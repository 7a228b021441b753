"""What planning says of columns that hold expected answers and that no reward reads."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, prompts_from_rows
from pytest_entropy.rewards import exact_answer, gsm8k, require_columns, reward_notes


def prompts(**columns: Any) -> list[Prompt]:
    return prompts_from_rows([("line 1", {"prompt": "3 + 4?", **columns})], source="a")


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"solution": "7"}, "solution"),
        ({"ground_truth": "7"}, "ground_truth"),
        ({"target": 7, "level": 2}, "target"),
        ({"label": "7"}, "label"),
        ({"output": "7", "input": ""}, "output"),
        ({"answers": {"text": ["7"], "answer_start": [0]}}, "answers"),
        ({"answerKey": "B", "choices": {"text": ["x"], "label": ["A"]}}, "answerKey"),
        ({"Correct Answer": "7", "Incorrect Answer 1": "8"}, "Correct Answer"),
        ({"extra_info": {"answer": "7", "index": 3}}, "extra_info.answer"),
        (
            {"choices": {"text": ["7"], "label": ["A"]}, "mc1_targets": {"choices": ["7"], "labels": [1]}, "key": "A"},
            "key",
        ),
        ({"completion": [{"role": "assistant", "content": "7"}]}, "completion"),
        ({"solution": "so 7", "final_answer": "7"}, "final_answer"),
        ({"verification_info": '{"ground_truth": "7"}'}, "verification_info"),
    ],
)
def test_a_missing_answer_names_the_column_that_may_be_meant(columns: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as raised:
        require_columns("exact_answer", exact_answer, prompts(**columns))
    assert "reward exact_answer needs the column 'answer'" in str(raised.value)
    assert str(raised.value).endswith(f"prompts.answer_column={named}")


def test_where_no_column_may_be_meant_none_is_named() -> None:
    with pytest.raises(UsageError, match="level[)]; name the column with the answers as prompts.answer_column$"):
        require_columns("exact_answer", exact_answer, prompts(level=2))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"answer": "7", "solution": r"so $\boxed{7}$"}, ""),
        ({"answer": "7", "solution": "3 + 4 = 7.\n#### 7.0"}, ""),
        ({"answer": "7", "level": "8"}, ""),
        ({"answer": "7", "solution": " ".join(["word"] * 50)}, ""),
        (
            {"answer": "7", "ground_truth": "8"},
            "'ground_truth' holds another answer in 1 of 1 rows (row 1: '7' and '8')",
        ),
        ({"answer": "7", "reward_model": {"style": "rule", "ground_truth": "8"}}, "'reward_model.ground_truth' holds"),
        ({"answer": "7", "final_answer": ["8", "9"]}, "'final_answer' holds another answer"),
    ],
)
def test_a_column_that_disagrees_with_the_answer_is_said(columns: dict[str, Any], said: str) -> None:
    notes = reward_notes("exact_answer", exact_answer, prompts(**columns))
    assert bool(notes) == bool(said)
    assert all(note.startswith("reward exact_answer reads the column 'answer'; the column ") for note in notes)
    assert said in "".join(notes)


def test_some_whole_solutions_among_the_answers_are_said() -> None:
    long = " ".join(["word"] * 50)
    rows = [Prompt(f"q{n}", {"answer": long if n == 2 else "7"}) for n in range(5)]
    (note,) = reward_notes("exact_answer", exact_answer, rows)
    assert "marks the answer in 1 of 5 rows" in note
    assert "row 3, prompt 'q2'" in note


@pytest.mark.parametrize("word", ["nan", "NaN", " None", "null", "<NA>"])
def test_missing_values_that_a_table_wrote_as_texts_are_said(word: str) -> None:
    rows = [Prompt(f"q{n}", {"answer": word if n in (2, 4) else "7"}) for n in range(5)]
    (note,) = reward_notes("gsm8k", gsm8k, rows)
    assert f"compares with the word {word!r} in 2 of 5 rows (the first: row 3, prompt 'q2')" in note
    for answer in ("no", "N/A", "none of them", "0"):
        assert reward_notes("gsm8k", gsm8k, [Prompt("q", {"answer": answer})]) == []


def defaulted(completions: list[str], solution: list[str] | None = None, **kwargs: Any) -> list[float]:
    return [0.0 if solution is None else 1.0 for _ in completions]


def short(completions: list[str], sol: list[str] | None = None) -> list[float]:
    return [0.0 if sol is None else 1.0 for _ in completions]


def asked(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(bool(kwargs.get("solution"))) for _ in completions]


def looked(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(gold == "7") for gold in kwargs["solution"]]


def form(completions: list[str], weight: float = 1.0, **kwargs: Any) -> list[float]:
    return [weight * ("<think>" in text) for text in completions]


def token_lengths(completion_ids: list[list[int]] | None = None, **kwargs: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids or [[]]]


def warmed_up(completions: list[str], **kwargs: Any) -> list[float]:
    state = kwargs.get("trainer_state")
    return [0.0 if state is None else 1.0 for _ in completions]


def both(completions: list[str], completion_ids: Any = None, trainer_state: Any = None) -> list[float]:
    return [0.0 for _ in completions]


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (token_lengths, "reward own reads completion_ids, which no trainer gives here: it gets none"),
        (warmed_up, "reward own reads trainer_state, which no trainer gives here: it gets none"),
        (both, "reward own reads completion_ids and trainer_state, which no trainer gives here: it gets none"),
        (form, ""),
        (asked, ""),
    ],
)
def test_values_that_only_a_trainer_gives_are_said(reward: Any, said: str) -> None:
    notes = reward_notes("own", reward, prompts(solution="7"))
    assert [note for note in notes if "trainer" in note] == ([said] if said else [])


@pytest.mark.parametrize(
    ("reward", "columns", "said"),
    [
        (
            defaulted,
            {"answer": "7"},
            "reads 'solution' only where the prompts have it, which they do not; they have 'answer'",
        ),
        (short, {"ground_truth": "7"}, "reads 'sol' only where"),
        (asked, {"reward_model": {"ground_truth": "7"}}, "reads 'solution' only where"),
        (defaulted, {"solution": "7", "answer": "7"}, ""),
        (defaulted, {"level": 3}, ""),
        (asked, {"solution": "7"}, ""),
        (form, {"answer": "7"}, ""),
    ],
)
def test_a_default_that_no_column_fills_is_said(reward: Any, columns: dict[str, Any], said: str) -> None:
    require_columns("own", reward, prompts(**columns))
    notes = reward_notes("own", reward, prompts(**columns))
    assert bool(notes) == bool(said)
    assert said in "".join(notes)


def test_a_lookup_that_would_fail_is_refused() -> None:
    with pytest.raises(UsageError, match="own looks up 'solution' in its keyword arguments.*have 'answer': rename"):
        require_columns("own", looked, prompts(answer="7"))
    require_columns("own", looked, prompts(solution="7"))


def test_verls_signature_is_named() -> None:
    def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
        return float(solution_str == ground_truth)

    with pytest.raises(UsageError, match="signature of verl's compute_score, for one response; wrap it"):
        require_columns("own", compute_score, prompts(data_source="a", reward_model={"ground_truth": "7"}))
