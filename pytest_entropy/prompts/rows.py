"""Make prompts of rows: find the columns, check the content, apply the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.messages import (
    chat_messages,
    parts_of,
    require_no_media,
    require_no_messages,
    require_text,
    shown,
)
from pytest_entropy.prompts.prompt import Content, Prompt
from pytest_entropy.prompts.template_arguments import COLUMN, row_arguments
from pytest_entropy.prompts.templates import apply_template, find_template, worked_example
from pytest_entropy.prompts.tool_schemas import TOOLS

_VERL_ANSWER = "reward_model.ground_truth"
_MISSING = object()


def prompts_from_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    source: str,
    prompt_column: str = "prompt",
    answer_column: str = "answer",
    template: str | None = None,
    from_table: bool = False,
) -> list[Prompt]:
    """Check rows and make prompts of them; the other columns are kept for the reward function.

    Rewards get the answer as ``answer``, also where its column has another name or is nested in verl's
    ``reward_model``.

    Args:
        rows: (place such as "line 3", row) pairs.
        source: what messages call the rows' origin.
        prompt_column, answer_column, template: see :func:`pytest_entropy.prompts.open_prompts`.
        from_table: whether the rows come from a table, whose structs have nulls for the fields of other rows.

    Raises:
        UsageError: a row lacks the prompt column or the configured answer column, a prompt is neither text nor chat
            messages, a row has images or the like, text and chat are mixed, a row's template arguments or tools are
            invalid, or there are no rows; names the source and the row.
    """
    text = find_template(template) if template else None
    prompts: list[Prompt] = []
    for place, row in rows:
        where = f"{source}, {place}"
        if text is not None:
            row = _with_question(row, prompt_column)
        content, made_of = _content(_column(row, prompt_column, where), where, from_table), None
        if text is not None:
            if not isinstance(content, str):
                raise UsageError(f"{where}: prompts.template applies to text, and this prompt is chat messages")
            content, made_of = apply_template(text, content), (text, content)
        columns = {key: value for key, value in row.items() if key != prompt_column}
        require_no_media(columns, where)
        answer = _answer(row, answer_column, where)
        if answer is not _MISSING:
            columns["answer"] = answer
        if prompts and isinstance(content, str) != isinstance(prompts[0].content, str):
            raise UsageError(f"{where}: text and chat prompts in one source; make all of one kind")
        prompts.append(Prompt(content, columns, _arguments(columns, content, where, from_table), made_of))
    if not prompts:
        raise UsageError(f"{source} holds no prompts")
    return prompts


def _column(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise UsageError(
            f"{where}: no column {name!r} (found: {', '.join(map(str, row)) or 'none'}); name the right one as "
            "prompts.prompt_column in the configuration"
        )
    return row[name]


def _arguments(columns: Mapping[str, Any], content: Content, where: str, from_table: bool) -> dict[str, Any]:
    """The chat template's arguments in a row's own columns, the tools among them."""
    if isinstance(content, str):
        # No template would describe the tools; a reward may read them.
        columns = {name: value for name, value in columns.items() if name != TOOLS}
    try:
        arguments = row_arguments(columns, from_table=from_table)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if arguments and isinstance(content, str):
        raise UsageError(
            f"{where}: {COLUMN} ({', '.join(arguments)}) is for chat messages, and this prompt is text, to which no "
            "template is applied; remove the column, or give the prompt as messages"
        )
    return arguments


def _with_question(row: Mapping[str, Any], prompt_column: str) -> Mapping[str, Any]:
    """A row with a worked example as its ``text`` (question, reasoning, answer), as a row of question and answer."""
    text = row.get("text")
    if prompt_column in row or not isinstance(text, str):
        return row
    example = worked_example(text)
    return row if example is None else {"answer": example[1], **row, prompt_column: example[0]}


def _answer(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The row's expected answer, ``_MISSING`` where no column was configured and none of the usual ones exists."""
    for name in (column, _VERL_ANSWER) if column == "answer" else (column,):
        value = nested_column(row, name, _MISSING)
        if value is not _MISSING:
            return value
    if column != "answer":
        raise UsageError(
            f"{where}: no column {column!r} (found: {', '.join(map(str, row))}); name the right one as "
            "prompts.answer_column in the configuration"
        )
    return _MISSING


def nested_column(row: Mapping[str, Any], name: str, missing: Any = None) -> Any:
    """The value of a column, or of a field of a struct in one, whose name is dotted.

    Args:
        row: values by column.
        name: of the column.
        missing: what is given where there is none.

    >>> nested_column({"reward_model": {"ground_truth": "7"}}, "reward_model.ground_truth")
    '7'
    """
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return missing
        value = value[part]
    return value


def _content(content: Any, where: str, from_table: bool) -> Content:
    """The prompt as text, or as chat messages."""
    if isinstance(content, str):
        require_text([content], where)
        require_no_messages(content, where)
        return content
    if isinstance(content, Sequence) and not isinstance(content, bytes) and content:
        messages = chat_messages(content, where, from_table=from_table)
        require_text([text for message in messages for text in parts_of(message)], where)
        return messages
    raise UsageError(f"{where}: a prompt is a non-empty text or a list of chat messages, not {shown(content)}")
