"""Prompts from JSONL files: one JSON object per line, read line by line in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.sources.base import Columns, PromptSource, from_rows, regular_file

# A million tokens of English; a file with a longer line has no line ends.
LONGEST_LINE = 4 * 2**20
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """("line N", row) of every line that is not blank.

    Raises:
        UsageError: the file cannot be read, or a line is not UTF-8, not JSON, above 4 MiB, or another value than an
            object; names file and line.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                where = f"prompts file {path}, line {number}"
                if len(line) > LONGEST_LINE:
                    raise UsageError(
                        f"{where} is longer than {LONGEST_LINE // 2**20} MiB; JSONL holds one prompt a line"
                    )
                if number == 1:
                    if line.startswith(_UTF16_BOMS):
                        raise UsageError(f"{where}: the file is UTF-16; save it as UTF-8, for instance with iconv")
                    line = line.removeprefix(_UTF8_BOM)
                if line.strip():
                    yield f"line {number}", _row(line, where)
    except OSError as error:
        raise UsageError(f"prompts file {path} cannot be read: {error.strerror}") from error


def _row(line: bytes, where: str) -> dict[str, object]:
    if b"\0" in line:
        raise UsageError(f"{where}: a NUL byte (at {line.index(0)}): not text; write it as \\u0000 if it is meant")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{where} is not UTF-8 (byte {error.start} of the line); save the file as UTF-8, for instance with iconv"
        ) from None
    try:
        row = json.loads(text)
    except RecursionError:
        raise UsageError(f"{where}: JSON nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{where}: not JSON ({error}); one object a line") from None
    if not isinstance(row, dict):
        hint = "; one array becomes lines with: jq -c '.[]'" if isinstance(row, list) else ""
        raise UsageError(f'{where}: {type(row).__name__}, expected an object such as {{"prompt": "…"}}{hint}')
    return row


def open_source(source: str, columns: Columns) -> PromptSet:
    """Open the prompts of a JSONL file.

    Raises:
        UsageError: the file cannot be read, or a row is invalid.
    """
    path = regular_file(source)
    return from_rows(read_jsonl(path), f"prompts file {path}", columns)


SOURCE = PromptSource(".jsonl", lambda source: Path(source).suffix in (".jsonl", ".json"), open_source)
