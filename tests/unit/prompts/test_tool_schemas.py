"""The column ``tools``: the forms that data sets give it, and what is refused."""

from __future__ import annotations

import json

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, prompts_from_rows, with_arguments
from pytest_entropy.prompts.tool_schemas import tool_schemas
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
