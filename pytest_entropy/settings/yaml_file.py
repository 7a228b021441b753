"""Reading YAML files safely: of limited size, without aliases or repeated keys, and with the line of every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pytest_entropy.errors import UsageError

_LARGEST = 2**20

Lines = dict[tuple[str, ...], int]
# A file's mapping as it was written, before its keys and types are checked.
Document = dict[str, Any]


def read_yaml(path: Path) -> tuple[Document, Lines]:
    """Read the mapping in a YAML file, and the line number of each key by its path.

    Raises:
        UsageError: the file is missing, larger than 1 MiB, not UTF-8 or not valid YAML, or it has aliases or repeated
            keys or is not a mapping; the message names the file, and the line if there is one.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"configuration {path} is larger than 1 MiB: that is not a configuration")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"configuration {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"configuration {path} is not UTF-8 (byte {error.start})") from error
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise UsageError(
                    f"configuration {path}, line {line}: YAML aliases (*{event.anchor}) are not accepted, they can "
                    "blow up a small file; write the value out"
                )
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        record = yaml.safe_load(text)
    except UsageError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        begun = f"{error.context} (from line {error.context_mark.line + 1}): " if error.context_mark else ""
        raise UsageError(f"configuration {path}{where}: broken YAML: {begun}{error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"configuration {path}: broken YAML: {error}") from error
    if record is None:
        return {}, {}
    if not isinstance(record, dict):
        raise UsageError(f"configuration {path} holds {type(record).__name__}, expected keys and values")
    lines: Lines = {}
    _collect_lines(node, (), lines, path)
    return record, lines


def _collect_lines(node: Any, prefix: tuple[str, ...], lines: Lines, path: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key = (*prefix, str(key_node.value))
        line = key_node.start_mark.line + 1
        if key in lines:
            raise UsageError(
                f"configuration {path}, line {line}: key {'.'.join(key)} was already given in line {lines[key]}"
            )
        lines[key] = line
        _collect_lines(value_node, key, lines, path)
