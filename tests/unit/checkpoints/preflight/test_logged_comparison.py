"""The prompts against those in a trainer's log: the same, in another form, or of another set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight import logged_comparison as module
from pytest_entropy.checkpoints.preflight.logged_comparison import LogComparison, compare_with_log
from pytest_entropy.prompts import DemoPrompts, Prompt, prompts_from_rows, with_arguments
from tests.unit.checkpoints.preflight.test_chat_template import saved

# The forms of Qwen3's template, with roles in words.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
QUESTIONS = [f"Tom has {n} apples and buys {n + 1} more. How many now?" for n in range(20)]


def checkpoint(place: Path, template: str = TEMPLATE) -> CheckpointFiles:
    """A checkpoint of TRL's with the special tokens of the template."""
    files = saved(place / "run" / "checkpoint-5", template)
    tokenizer = AutoTokenizer.from_pretrained(files.weights)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "pad_token": "<pad>"})
    tokenizer.save_pretrained(files.weights)
    return files


def chat(questions: list[str] = QUESTIONS, *before: dict[str, str]) -> list[Prompt]:
    rows = [{"prompt": [*before, {"role": "user", "content": question}]} for question in questions]
    return prompts_from_rows([(f"row {n}", row) for n, row in enumerate(rows, 1)], source="rows")


def as_logged(files: CheckpointFiles, prompts: list[Prompt], *, special: bool, **arguments: Any) -> list[str]:
    """What a trainer that renders, encodes and decodes these messages writes: TRL's and verl's texts."""
    tokenizer: Any = AutoTokenizer.from_pretrained(files.weights)
    texts = []
    for prompt in prompts:
        ids = tokenizer.apply_chat_template(prompt.content, add_generation_prompt=True, return_dict=False, **arguments)
        # Left padding is part of a batch.
        padded = [tokenizer.pad_token_id] * 3 + list(ids)
        texts.append(tokenizer.decode(padded, skip_special_tokens=not special))
    return texts


def write_trl(files: CheckpointFiles, prompts: list[Any], step: int = 5) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = files.root.parent / "completions" / f"completions_{step:05d}.parquet"
    path.parent.mkdir(exist_ok=True)
    rows = [{"step": step, "prompt": prompt, "completion": "7", "reward": 0.5} for prompt in prompts]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def compared(files: CheckpointFiles, prompts: Any) -> LogComparison:
    found = compare_with_log(files, prompts)
    assert found is not None
    return found


@pytest.mark.parametrize("special", [True, False])
def test_prompts_that_the_trainer_encoded_alike(tmp_path: Path, *, special: bool) -> None:
    files, prompts = checkpoint(tmp_path), chat()
    write_trl(files, as_logged(files, prompts[3:9], special=special) * 2)
    found = compared(files, prompts)
    assert (found.same, found.other, found.total, found.warning) == (6, 0, 6, "")
    name = "completions/completions_00005.parquet (step 5)"
    assert found.note == f"  prompts as in the trainer's log {name}: 6 of 6 are among them"


@pytest.mark.parametrize("special", [True, False])
def test_another_template_argument_is_said_with_a_sample(tmp_path: Path, *, special: bool) -> None:
    files, prompts = checkpoint(tmp_path), chat()
    write_trl(files, as_logged(files, prompts[:4], special=special, enable_thinking=False))
    found = compared(files, prompts)
    assert (found.same, found.other) == (0, 4)
    assert "4 of 4 prompts in the trainer's log completions/completions_00005.parquet (step 5) have another form" in (
        found.warning
    )
    assert "assistant\\n<think>" in found.warning
    assert found.note == f"  warning: {found.warning}"
    told = with_arguments(prompts, {"enable_thinking": False}, "rows")
    assert (compared(files, told).same, compared(files, told).warning) == (4, "")


def test_a_system_prompt_that_is_missing_is_said(tmp_path: Path) -> None:
    files, system = checkpoint(tmp_path), {"role": "system", "content": "Answer in <answer> tags."}
    write_trl(files, as_logged(files, chat(QUESTIONS, system)[:4], special=False))
    found = compared(files, chat())
    assert (found.same, found.other) == (0, 4)
    assert "at character 1 the log has 'system\\nAnswer in <answer> tags.\\nuser\\nTom has" in found.warning
    # TRL writes the messages themselves since 1.16.
    write_trl(files, [[system, {"role": "user", "content": QUESTIONS[2], "tool_calls": None}]])
    found = compared(files, chat())
    assert (
        "as message 1 the log has system: 'Answer in <answer> tags.' and the prompt user: 'Tom has 2" in found.warning
    )
    note = compared(files, chat(QUESTIONS, system)).note
    assert note.startswith("  the prompts' messages as in the trainer's log")
    assert note.endswith("1 of 1 are among them")
    # A difference far within a message is shown where it is.
    write_trl(files, [[{"role": "user", "content": f"{QUESTIONS[2]} Think step by step."}]])
    assert "user: ' more. How many now? Think step by step.' and the prompt user: '" in compared(files, chat()).warning


def test_another_template_of_texts_is_said(tmp_path: Path) -> None:
    files = checkpoint(tmp_path)
    rows = [(f"row {n}", {"prompt": question}) for n, question in enumerate(QUESTIONS, 1)]
    write_trl(files, [f"Question: {question}\nAnswer:" for question in QUESTIONS[:3]])
    right = prompts_from_rows(rows, source="rows", template="Question: {question}\nAnswer:")
    other = prompts_from_rows(rows, source="rows", template="Question: {question}\nSolution:")
    assert compared(files, right).note.endswith("3 of 3 are among them")
    assert (
        "at character 59 the log has 'more. How many now?\\nAnswer:' and the prompt" in compared(files, other).warning
    )
    assert "at character 1 the log has 'Question: Tom" in compared(files, prompts_from_rows(rows, source="r")).warning
    # The log's prompts may be the shorter ones.
    write_trl(files, QUESTIONS[:3])
    assert "'Tom has 0 apples" in compared(files, other).warning


def test_white_space_is_a_difference_of_its_own(tmp_path: Path) -> None:
    files, prompts = checkpoint(tmp_path), chat()
    texts = as_logged(files, prompts[:2], special=True)
    write_trl(files, [text.replace("<|im_end|>\n", "<|im_end|> ") for text in texts])
    assert "have another form here: only white space differs, at character" in compared(files, prompts).warning


def test_another_data_set_is_said_and_a_part_of_one_is_not(tmp_path: Path) -> None:
    files, prompts = checkpoint(tmp_path), chat(["What is 3 + 4?", *QUESTIONS])
    others = chat([f"What is 13 + {n}4?" for n in range(20)])
    write_trl(files, as_logged(files, others, special=False))
    found = compared(files, prompts)
    assert (found.same, found.other, found.total) == (0, 0, 16)
    assert found.warning == (
        "none of 16 prompts in the trainer's log completions/completions_00005.parquet (step 5) is among the prompts: "
        "is this the data set and the split that the policy is trained on?"
    )
    write_trl(files, as_logged(files, [*others[:9], *prompts[:2]], special=False))
    assert (compared(files, prompts).same, compared(files, prompts).warning) == (2, "")


def test_a_set_that_is_not_searched_to_its_end_is_not_called_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = checkpoint(tmp_path)
    write_trl(files, ["nowhere in the set"])
    monkeypatch.setattr(module, "_SEARCH", -1.0)
    found = compared(files, [Prompt(f"question {n}") for n in range(3000)])
    assert (found.whole, found.warning) == (False, "")


def test_nothing_is_compared_without_a_log_or_with_the_bundled_prompts(tmp_path: Path) -> None:
    files = checkpoint(tmp_path)
    assert compare_with_log(files, chat()) is None
    write_trl(files, ["3 + 4?"])
    assert compare_with_log(files, DemoPrompts()) is None
    hub = replace(files, weights=tmp_path / "empty", base="someone/model")
    assert compare_with_log(hub, chat()) is None
    (files.weights / "chat_template.jinja").write_text("{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3)
    # Which encoding reports.
    short = pytest.MonkeyPatch()
    with short.context() as patch:
        patch.setattr(module, "SECONDS", 0.3)
        write_trl(files, as_logged(checkpoint(tmp_path / "other"), chat()[:1], special=True))
        assert compare_with_log(files, chat()) is None


def test_lists_of_parts_are_compared_as_they_are_encoded(tmp_path: Path) -> None:
    files = checkpoint(tmp_path)
    write_trl(files, as_logged(files, chat()[:2], special=False))
    parts = [{"prompt": [{"role": "user", "content": [{"type": "text", "text": one}]}]} for one in QUESTIONS]
    prompts = prompts_from_rows([("row", json.loads(json.dumps(row))) for row in parts], source="rows")
    assert compared(files, prompts).note.endswith("2 of 2 are among them")


def test_conversations_with_one_last_message_are_told_apart(tmp_path: Path) -> None:
    """What they differ in stands before it: the log's own are found among all, or nothing is claimed."""
    files = checkpoint(tmp_path)
    states = [{"role": "system", "content": f"The state is {n}."} for n in range(100)]
    prompts = [chat(["Make your move."], state)[0] for state in states]
    write_trl(files, as_logged(files, prompts[10:26], special=True))
    found = compared(files, prompts[:40])
    assert (found.same, found.other, found.warning) == (16, 0, "")
    many = compared(files, prompts[::-1])
    assert (many.other, many.warning) == (0, "")
    other = compared(files, chat(["Make your move."], {"role": "system", "content": "Another."}))
    assert other.warning.startswith("16 of 16 prompts")


def test_the_special_tokens_of_a_large_tokenizer_are_known(tmp_path: Path) -> None:
    files, prompts = checkpoint(tmp_path), chat()
    write_trl(files, as_logged(files, prompts[3:9], special=False))
    # Some tokenizers of 260 000 words take 34 MB.
    with (files.weights / "tokenizer.json").open("ab") as stream:
        stream.write(b" " * 34 * 2**20)
    assert compared(files, prompts).same == 6
