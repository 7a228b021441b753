"""Prompt sources: where prompts and their columns (the expected answer, say) come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_entropy import word_problems
from pytest_entropy.errors import UsageError

Content = str | list[dict[str, str]]


@dataclass(frozen=True)
class Prompt:
    """One prompt: a string or chat messages, and the columns a reward function may ask for."""

    content: Content
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What makes two prompts the same: their content."""
        return self.content if isinstance(self.content, str) else json.dumps(self.content, sort_keys=True)


class PromptSet(Protocol):
    """A finite, ordered collection of prompts."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Prompt: ...


class DemoPrompts:
    """The word problems of the bundled demo checkpoint, made on demand."""

    def __len__(self) -> int:
        return word_problems.SIZE

    def __getitem__(self, index: int) -> Prompt:
        text, answer = word_problems.problem(index)
        return Prompt(text, {"answer": answer})


def read_jsonl(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """(line number, row) of every non-empty line.

    Raises:
        UsageError: not UTF-8, not JSON, or a line that is not an object; names file and line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"prompts file {path} is not UTF-8 (byte {error.start}); save it as UTF-8, for instance with iconv"
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UsageError(f"prompts file {path}, line {number}: not JSON ({error}); one object a line") from error
        if not isinstance(row, dict):
            raise UsageError(f"prompts file {path}, line {number}: {type(row).__name__}, expected an object")
        yield number, row


def prompts_from_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]], *, source: str, prompt_column: str, answer_column: str
) -> list[Prompt]:
    """Check rows and make prompts of them; other columns are kept for the reward function.

    The answer column, where it has another name, is offered to rewards as ``answer`` as well.

    Raises:
        UsageError: a row without the prompt column, or a prompt that is neither text nor chat messages.
    """
    prompts = []
    for number, row in rows:
        if prompt_column not in row:
            raise UsageError(
                f"{source}, line {number}: no column {prompt_column!r} (found: {', '.join(map(str, row)) or 'none'}); "
                "name the right one as prompts.prompt_column in the configuration"
            )
        content = row[prompt_column]
        columns = {key: value for key, value in row.items() if key != prompt_column}
        if answer_column in row:
            columns.setdefault("answer", row[answer_column])
        prompts.append(Prompt(_content(content, f"{source}, line {number}"), columns))
    if not prompts:
        raise UsageError(f"{source} holds no prompts")
    return prompts


def _content(content: Any, where: str) -> Content:
    if isinstance(content, str) and content:
        return content
    if (
        isinstance(content, Sequence)
        and not isinstance(content, str)
        and content
        and all(isinstance(m, Mapping) and isinstance(m.get("content"), str) and "role" in m for m in content)
    ):
        return [{"role": str(m["role"]), "content": m["content"]} for m in content]
    raise UsageError(
        f"{where}: a prompt is a non-empty string or a list of messages with role and content, "
        f"not {type(content).__name__} {str(content)[:60]!r}"
    )


def open_prompts(source: str, *, prompt_column: str = "prompt", answer_column: str = "answer") -> PromptSet:
    """The prompt set a configuration names: ``demo`` or a ``.jsonl``/``.json``/``.parquet`` file.

    Raises:
        UsageError: no such file, unknown kind of file, or a bad row.
    """
    if source == "demo":
        return DemoPrompts()
    path = Path(source).expanduser()
    if not path.is_file():
        raise UsageError(f"prompts file {source} does not exist; give a .jsonl or .parquet file, or 'demo'")
    rows: Iterable[tuple[int, Mapping[str, Any]]]
    if path.suffix in (".jsonl", ".json"):
        rows = read_jsonl(path)
    elif path.suffix == ".parquet":
        rows = _read_parquet(path)
    else:
        raise UsageError(f"prompts file {source}: unknown kind {path.suffix!r}; known are .jsonl and .parquet")
    return prompts_from_rows(
        rows, source=f"prompts file {path}", prompt_column=prompt_column, answer_column=answer_column
    )


def _read_parquet(path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError(f"reading {path} needs pyarrow: pip install 'pytest-entropy[parquet]'") from error
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"prompts file {path} is not a readable parquet file: {error}") from error
    return enumerate(table.to_pylist(), start=1)
