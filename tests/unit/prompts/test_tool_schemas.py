"""The column ``tools``: the forms that data sets give it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, prompts_from_rows, with_arguments
from pytest_entropy.prompts.tool_schemas import read_tools, tool_schemas
from tests.in_order import in_order

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
BARE = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
ASK = [{"role": "user", "content": "3 + 4?"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([ADD], [ADD]),
        (json.dumps([ADD, BARE]), [ADD, BARE]),
        ([json.dumps(ADD)], [ADD]),
        (json.dumps(ADD), [ADD]),
        (BARE, [BARE]),
        (None, []),
        ([], []),
        ("[]", []),
        ("", []),
        ("null", []),
    ],
)
def test_schemas_in_the_forms_of_data_sets(value: object, expected: list[object]) -> None:
    assert tool_schemas(value) == expected
    (prompt,) = prompts_from_rows([("row 1", {"prompt": ASK, "tools": value})], source="rows")
    assert prompt.template_arguments == ({"tools": expected} if expected else {})
    # A plugin's prompts have them in the column, and the run's own arguments come besides.
    plugin = with_arguments([Prompt(ASK, {"tools": value})], {"effort": 1}, "hook")
    assert plugin[0].template_arguments == ({"effort": 1, "tools": expected} if expected else {"effort": 1})
    assert with_arguments([prompt], {"effort": 1}, "rows")[0].template_arguments == plugin[0].template_arguments


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["calculator"], "is a list of JSON schemas .* and one of them is str 'calculator'"),
        ("{broken", "one of them is str '{broken'"),
        ([{"type": "function"}], "one of them is dict of length 1"),
        ([{**BARE, "default": b"x"}], "the schema of 'add' is no JSON"),
    ],
)
def test_anything_else_is_refused_with_its_row(value: object, message: str) -> None:
    with pytest.raises(UsageError, match=f"rows, row 1: tools.*{message}"):
        prompts_from_rows([("row 1", {"prompt": ASK, "tools": value})], source="rows")
    with pytest.raises(UsageError, match=f"prompts hook, row 1: tools.*{message}"):
        in_order(with_arguments([Prompt(ASK, {"tools": value})], {}, "hook"))


def test_the_same_messages_with_other_tools_are_another_prompt_and_a_text_keeps_the_column() -> None:
    rows = [("row", {"prompt": ASK, "tools": tools}) for tools in ([ADD], [BARE], None)]
    assert len({prompt.key for prompt in prompts_from_rows(rows, source="rows")}) == 3
    (text,) = prompts_from_rows([("row", {"prompt": "3 + 4?", "tools": [ADD]})], source="rows")
    assert (text.template_arguments, text.columns) == ({}, {"tools": [ADD]})


def test_the_tools_of_a_run_are_those_of_every_row_without_its_own(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([ADD]))
    assert read_tools(str(path)) == [ADD]
    rows = [("row", {"prompt": ASK, "tools": tools}) for tools in ([BARE], None)]
    given = with_arguments(prompts_from_rows(rows, source="rows"), {"effort": 1}, "rows", [ADD])
    assert [prompt.template_arguments for prompt in in_order(given)] == [
        {"effort": 1, "tools": [BARE]},
        {"effort": 1, "tools": [ADD]},
    ]
    with pytest.raises(UsageError, match="prompts.tools is for chat messages, and the prompts of rows are text"):
        with_arguments([Prompt("3 + 4?")], {}, "rows", [ADD])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no file; give a JSON file with a list of schemas"),
        ("{broken", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "holds no schemas"),
        ('["add"]', "tools is a list of JSON schemas .* and one of them is str 'add'"),
        (" " * (4 * 2**20 + 1), "holds no schemas, or more than 4194304 bytes"),
    ],
)
def test_a_file_of_tools_that_is_none(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "tools.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=f"prompts.tools: .*{message}"):
        read_tools(str(path))
