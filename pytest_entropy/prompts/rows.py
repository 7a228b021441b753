"""Make prompts of rows: find the columns, check the content, apply the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import Content, Message, Prompt
from pytest_entropy.prompts.template_arguments import COLUMN, template_arguments
from pytest_entropy.prompts.templates import apply_template, find_template, worked_example

_VERL_ANSWER = "reward_model.ground_truth"
_MISSING = object()


def prompts_from_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    source: str,
    prompt_column: str = "prompt",
    answer_column: str = "answer",
    template: str | None = None,
) -> list[Prompt]:
    """Check rows and make prompts of them; the other columns are kept for the reward function.

    Rewards get the answer as ``answer``, also where its column has another name or is nested in verl's
    ``reward_model``.

    Args:
        rows: (place such as "line 3", row) pairs.
        source: what messages call the rows' origin.
        prompt_column, answer_column, template: see :func:`pytest_entropy.prompts.open_prompts`.

    Raises:
        UsageError: a row lacks the prompt column or the configured answer column, a prompt is neither text nor chat
            messages, text and chat are mixed, a row's template arguments are invalid, or there are no rows; names the
            source and the row.
    """
    text = find_template(template) if template else None
    prompts: list[Prompt] = []
    for place, row in rows:
        where = f"{source}, {place}"
        if text is not None:
            row = _with_question(row, prompt_column)
        if prompt_column not in row:
            raise UsageError(
                f"{where}: no column {prompt_column!r} (found: {', '.join(map(str, row)) or 'none'}); "
                "name the right one as prompts.prompt_column in the configuration"
            )
        content, made_of = _content(row[prompt_column], where), None
        if text is not None:
            if not isinstance(content, str):
                raise UsageError(f"{where}: prompts.template applies to text, and this prompt is chat messages")
            content, made_of = apply_template(text, content), (text, content)
        columns = {key: value for key, value in row.items() if key != prompt_column}
        answer = _answer(row, answer_column, where)
        if answer is not _MISSING:
            columns["answer"] = answer
        if prompts and isinstance(content, str) != isinstance(prompts[0].content, str):
            raise UsageError(f"{where}: text and chat prompts in one source; make all of one kind")
        prompts.append(Prompt(content, columns, _arguments(row.get(COLUMN), content, where), made_of))
    if not prompts:
        raise UsageError(f"{source} holds no prompts")
    return prompts


def _arguments(value: Any, content: Content, where: str) -> dict[str, Any]:
    """The chat template arguments in a row's own column."""
    try:
        arguments = {} if value is None else template_arguments(value)
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
        value = _nested(row, name)
        if value is not _MISSING:
            return value
    if column != "answer":
        raise UsageError(
            f"{where}: no column {column!r} (found: {', '.join(map(str, row))}); name the right one as "
            "prompts.answer_column in the configuration"
        )
    return _MISSING


def _nested(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, whose name may be dotted; ``_MISSING`` where there is none."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _content(content: Any, where: str) -> Content:
    """The prompt as text, or as chat messages without the null fields that table formats add."""
    if isinstance(content, str):
        _require_text([content], where)
        return content
    if isinstance(content, Sequence) and not isinstance(content, bytes) and content:
        messages = [_message(message, where) for message in content]
        _require_text([message["content"] for message in messages], where)
        return messages
    raise UsageError(f"{where}: a prompt is a non-empty text or a list of chat messages, not {_shown(content)}")


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
        raise UsageError(f"{where}: a chat message has a role and a content, not {_shown(message)}")
    if not isinstance(message["content"], str):
        raise UsageError(
            f"{where}: the content of a chat message is text, not {_shown(message['content'])}; images and lists of "
            "parts are not supported"
        )
    return {str(key): value for key, value in message.items() if value is not None}


def _require_text(texts: list[str], where: str) -> None:
    if not any(text.strip() for text in texts):
        raise UsageError(f"{where}: the prompt is empty; remove the row")
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: the prompt holds half a character ({text[error.start]!r}, a lone surrogate), which no "
                "tokenizer takes; repair or remove the row"
            ) from None


def _shown(value: Any) -> str:
    """A value's type with its beginning or its length, on one line: values of a row may be long and deep."""
    name = type(value).__name__
    if isinstance(value, str | int | float):
        return f"{name} {str(value)[:60]!r}"
    if isinstance(value, list | dict | bytes):
        return f"{name} of length {len(value)}"
    return name
