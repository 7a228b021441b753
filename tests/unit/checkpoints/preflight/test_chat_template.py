"""Chat templates in a checkpoint's files: found and rendered as transformers does, and held against the prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.chat_template import require_chat_template
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.checkpoints.preflight.prompt_columns import (
    columns_left_out,
    require_reached,
    unused_arguments,
)
from pytest_entropy.checkpoints.preflight.template_files import ChatTemplates, read_templates
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, prompts_from_rows
from tests import tiny
from tests.fresh_process import succeeds
from tests.unit.checkpoints.trainer_files import files_in

TEMPLATE = (
    "{{ bos_token }}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}<{{ m.role }}>"
    "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<me>{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
ASK = [{"role": "user", "content": "3 + 4?"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def saved(place: Path, template: str | dict[str, str] | None = TEMPLATE, *, jinja: bool = True) -> CheckpointFiles:
    """A checkpoint's directory with a tokenizer as transformers writes it."""
    words = tiny.tokenizer()
    words.add_special_tokens({"bos_token": "<s>"})
    words.chat_template = template
    words.save_pretrained(place, save_jinja_files=jinja)
    return files_in(place)


def templates_of(files: CheckpointFiles) -> ChatTemplates:
    return read_templates(files.weights)


def rows(*columns: dict[str, Any], prompt: Any = ASK) -> list[Prompt]:
    return prompts_from_rows([(f"row {n}", {"prompt": prompt, **row}) for n, row in enumerate(columns, 1)], source="r")


@pytest.mark.parametrize("jinja", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_templates_are_rendered_as_the_loaded_tokenizer_does(tmp_path: Path, *, jinja: bool, named: bool) -> None:
    files = saved(tmp_path, {"default": TEMPLATE, "tool_use": "tools:" + TEMPLATE} if named else TEMPLATE, jinja=jinja)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    answered: list[Any] = [
        *ASK,
        {"role": "assistant", "content": "7", "tool_calls": None},
        {"role": "user", "content": "And 5?"},
    ]
    for arguments in ({}, {"enable_thinking": False}, {"tools": [TOOL]}):
        expected = tokenizer.apply_chat_template(answered, tokenize=False, add_generation_prompt=True, **arguments)
        assert str(expected).startswith("<s>") or named
        assert PlannedTokenizer(files.weights).rendered(answered, arguments) == expected


def test_no_template_and_a_broken_one_are_told(tmp_path: Path) -> None:
    prompts = rows({})
    with pytest.raises(UsageError, match=r"has no chat template \(a base model\?\)"):
        require_chat_template(prompts, saved(tmp_path / "none", None), {})
    with pytest.raises(
        UsageError, match=r"the chat template in .*broken is not valid \(line 1: Unexpected end of temp"
    ):
        require_chat_template(prompts, saved(tmp_path / "broken", "{% for m in messages %}"), {})
    (tmp_path / "large").mkdir()
    files = saved(tmp_path / "large", TEMPLATE)
    (tmp_path / "large" / "chat_template.jinja").write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(UsageError, match="4194305 bytes; one over 4194304 is not read"):
        require_chat_template(prompts, files, {})
    assert require_chat_template(rows({}, prompt="3 + 4?"), files, {}) is None


def test_an_argument_that_the_template_does_not_use_is_told(tmp_path: Path) -> None:
    files = saved(tmp_path)
    assert require_chat_template(rows({}), files, {"enable_thinking": False}) is not None
    for unused in ("enable_thoughts", "thinking", "role", "content"):
        with pytest.raises(UsageError, match=f"does not use {unused}; it would change nothing"):
            require_chat_template(rows({}), files, {unused: False})


def test_an_argument_of_rows_that_changes_nothing_is_said(tmp_path: Path) -> None:
    templates = templates_of(saved(tmp_path))
    assert unused_arguments(rows({"chat_template_kwargs": {"enable_thinking": False}}), templates, []) == []
    (note,) = unused_arguments(rows({}, {"chat_template_kwargs": {"enable_thinkin": False}}), templates, [])
    assert note == "  warning: chat_template_kwargs of rows has enable_thinkin, which the chat template does not use"
    (note,) = unused_arguments(rows({"chat_template_kwargs": {"enable_thinking": "false"}}), templates, [])
    assert "enable_thinking as a text, which templates take for true" in note


# ---------------------------------------------------------------------- columns


def test_a_column_with_the_name_of_a_variable_is_refused_with_the_remedy(tmp_path: Path) -> None:
    templates = templates_of(saved(tmp_path))
    with pytest.raises(UsageError) as caught:
        require_reached(rows({}, {"enable_thinking": False}), templates)
    assert str(caught.value) == (
        f"prompt 2: column 'enable_thinking' (bool 'False') has the name of a variable of the chat template in "
        f"{tmp_path}, which a column does not set: move it into chat_template_kwargs, for a row or for the run, or "
        "rename it if only a reward reads it"
    )
    for reached in (
        {"enable_thinking": None},
        {"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": False}},
        {"level": 3, "content": "x", "role": "y"},
    ):
        require_reached(rows(reached), templates)
    with pytest.raises(UsageError, match="enable_thinking"):
        require_reached(rows({"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": True}}), templates)


def test_a_late_row_of_a_large_set_is_looked_at(tmp_path: Path) -> None:
    many = rows(*({} for _ in range(4000)), *({"enable_thinking": False} for _ in range(2000)))
    with pytest.raises(UsageError, match="prompt 4[0-9]{3}: column 'enable_thinking'"):
        require_reached(many, templates_of(saved(tmp_path)))


@pytest.mark.parametrize(
    ("columns", "listed"),
    [
        ({"system_prompt": "Be brief."}, "system_prompt"),
        ({"system": "Be brief.", "history": [["a", "b"]]}, "system, history"),
        ({"template_kwargs": {"enable_thinking": False}}, "template_kwargs, template_kwargs.enable_thinking"),
        ({"functions": [TOOL]}, "functions"),
        ({"extra_info": {"index": 3, "enable_thinking": False}}, "extra_info.enable_thinking"),
        ({"metadata": {"chat_template_kwargs": '{"enable_thinking": false}'}}, "metadata.chat_template_kwargs"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_columns_that_look_like_a_part_of_the_prompt_are_named(tmp_path: Path, columns: Any, listed: str) -> None:
    (note,) = columns_left_out(rows({}, columns), templates_of(saved(tmp_path)))
    assert note == (
        f"  not given to the chat template: {listed} (system prompts belong into the messages, variables into "
        "chat_template_kwargs, tools into tools)"
    )


def test_ordinary_columns_and_tools_that_the_template_uses_are_not(tmp_path: Path) -> None:
    columns = {"answer": "7", "extra_info": {"index": 3}, "tools": [TOOL], "system": None, "chat_template_kwargs": {}}
    assert columns_left_out(rows(columns), templates_of(saved(tmp_path / "tools"))) == []
    without = templates_of(saved(tmp_path / "without", "{% for m in messages %}{{ m.content }}{% endfor %}"))
    (note,) = columns_left_out(rows(columns), without)
    assert note == "  not given to the chat template: tools (the template does not use them)"
    (note,) = columns_left_out(rows({"tools": [TOOL], "system": "Be brief."}, prompt="3 + 4?"), None)
    assert note == "  not part of the prompts, which are text: system, tools (rewards get every column)"
    # As ultrachat's rows have both.
    (note,) = columns_left_out(rows({"messages": ASK, "chat": "x"}, prompt="3 + 4?"), None)
    assert note == "  not part of the prompts, which are text: messages (rewards get every column)"


def test_planning_reads_the_files_without_torch(tmp_path: Path) -> None:
    saved(tmp_path)
    program = (
        "import sys; from pathlib import Path\n"
        "from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer\n"
        f"print(PlannedTokenizer(Path({str(tmp_path)!r})).rendered({json.dumps(ASK)}), 'torch' in sys.modules)"
    )
    assert succeeds(program).strip() == "<s><user>3 + 4?<me> False"
