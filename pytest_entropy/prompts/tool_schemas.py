"""The column or file ``tools``: the functions that a chat template describes to the model, as JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.messages import shown, without_nulls

TOOLS = "tools"
# Hundreds of tools take as much.
_LARGEST = 4 * 2**20
_FORM = '{"type": "function", "function": {"name": …, "parameters": …}}'


def tool_schemas(value: Any, *, from_table: bool = False) -> list[dict[str, Any]]:
    """The functions in a row's column, none where it is null or empty, as TRL passes none then.

    Data sets store them as a list of mappings, as JSON text of the list, or as a list of such texts.

    Args:
        value: of the column.
        from_table: whether the row comes from a table, where each struct has the fields of all rows.

    Raises:
        ValueError: it holds anything but JSON schemas of functions.
    """
    value = _parsed(value)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        value = [value]
    schemas = [_parsed(tool) for tool in value]
    for schema in schemas:
        function = schema.get("function", schema) if isinstance(schema, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(f"{TOOLS} is a list of JSON schemas {_FORM}, and one of them is {shown(schema)}")
        try:
            json.dumps(schema)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{TOOLS}: the schema of {function['name']!r} is no JSON") from None
    return [without_nulls(schema) if from_table else dict(schema) for schema in schemas]


def read_tools(source: str) -> list[dict[str, Any]]:
    """The tools of a whole run, of the JSON file that ``prompts.tools`` names.

    Raises:
        UsageError: the file cannot be read, is too large, or holds anything but JSON schemas of functions.
    """
    path = Path(source).expanduser()
    try:
        if not path.is_file():
            raise UsageError(f"prompts.tools: {source} is no file; give a JSON file with a list of schemas {_FORM}")
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        value = json.loads(data) if len(data) <= _LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"prompts.tools: {source} cannot be read as JSON: {str(error)[:200]}") from error
    try:
        schemas = tool_schemas(value)
    except ValueError as error:
        raise UsageError(f"prompts.tools: {source}: {error}") from None
    if not schemas:
        raise UsageError(f"prompts.tools: {source} holds no schemas, or more than {_LARGEST} bytes")
    return schemas


def _parsed(value: Any) -> Any:
    """A value out of its JSON text; another text as it is, and an empty one as null."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
