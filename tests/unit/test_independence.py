"""The table of docs/faults.md that says who recomputes each recorded number: it is complete, and its modules exist."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import UpdateRecord

FAULTS = Path(__file__).parents[2] / "docs" / "faults.md"
HEADING = "## Who recomputes what"


def rows() -> list[list[str]]:
    """The cells of each row of the table."""
    section = FAULTS.read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def modules() -> list[str]:
    """Every module that the table names as computing a number, for the first time or again."""
    words = re.compile(r"`([a-z_0-9]+(?:\.[a-z_0-9]+)*)`")
    named = [name for row in rows() for cell in row[1:3] for name in words.findall(cell)]
    # Words in backticks that are a row's scope, such as a diagnostic, stand in brackets of their own.
    return sorted({name for name in named if "." in name})


def test_every_recorded_number_has_a_row() -> None:
    named = {name for row in rows() for name in re.findall(r"`([\w.]+)`", row[0])}
    record = {f.name for f in fields(RunRecord)} - {"update"}
    update = {f"update.{f.name}" for f in fields(UpdateRecord)}
    assert record | update <= named, f"docs/faults.md does not say who recomputes {sorted((record | update) - named)}"


def test_a_number_has_one_row_only() -> None:
    named = [name for row in rows() for name in re.findall(r"`([\w.]+)`", row[0])]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", modules())
def test_a_named_module_exists(name: str) -> None:
    assert importlib.util.find_spec(f"pytest_entropy.{name}") is not None


def test_whoever_computes_a_number_does_not_compute_it_again() -> None:
    for row in rows():
        first, again = (set(re.findall(r"`([\w.]+)`", cell)) for cell in row[1:3])
        assert not first & again, row[0]
        assert row[2] == "reader" or again or "comparison" in row[2], row[0]
