"""Data sets through the ``datasets`` package, all from disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import open_prompts
from pytest_entropy.prompts.sources.dataset import _parts
from tests.in_order import in_order


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    package = pytest.importorskip("datasets")
    monkeypatch.setattr(package.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    package.disable_progress_bars()
    yield package
    package.enable_progress_bars()


def refused(source: str) -> str:
    with pytest.raises(UsageError) as caught:
        open_prompts(source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("datasets:a/b", ("a/b", None, "train")),
        ("datasets:a/b:test", ("a/b", None, "test")),
        ("datasets:a/b:main:test", ("a/b", "main", "test")),
    ],
)
def test_parts_of_a_name(source: str, parts: tuple[str, str | None, str]) -> None:
    assert _parts(source) == parts


@pytest.mark.parametrize("source", ["datasets:", "datasets::test", "datasets:a:", "datasets:a:b:c:d"])
def test_a_name_that_is_none(source: str) -> None:
    assert "is not datasets:NAME, datasets:NAME:SPLIT or datasets:NAME:CONFIG:SPLIT" in refused(source)


def test_saved_to_disk(datasets: ModuleType, tmp_path: Path) -> None:
    table = datasets.Dataset.from_list([{"prompt": f"q{n}", "answer": n} for n in range(5)])
    table.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": table, "test": table.select([1, 0])}).save_to_disk(str(tmp_path / "both"))
    assert [p.content for p in in_order(open_prompts(f"datasets:{tmp_path}/one"))] == ["q0", "q1", "q2", "q3", "q4"]
    prompts = open_prompts(f"datasets:{tmp_path}/both:test")
    assert [(p.content, p.columns["answer"]) for p in in_order(prompts)] == [("q1", 1), ("q0", 0)]
    assert "both:nosuch cannot be loaded (KeyError" in refused(f"datasets:{tmp_path}/both:nosuch")


def test_a_directory_of_data_files(datasets: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text(json.dumps({"prompt": "q", "answer": "1"}) + "\n")
    (prompt,) = in_order(open_prompts(f"datasets:{folder}"))
    assert (prompt.content, prompt.columns["answer"]) == ("q", "1")


def test_a_name_that_leads_nowhere(datasets: ModuleType) -> None:
    said = refused("datasets:nobody/nothing-of-the-kind")
    assert "data set nobody/nothing-of-the-kind cannot be loaded" in said
    assert "give its rows as a .jsonl or .parquet file, which needs no network" in said


def test_gsm8k_r1_template_is_gsm8k_in_the_r1_template(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def rows(source: str) -> Iterator[tuple[str, dict[str, str]]]:
        asked.append(source)
        yield "row 1", {"question": "How many?", "answer": "Count.\n#### 3"}

    monkeypatch.setattr("pytest_entropy.prompts.sources.dataset.read_dataset", rows)
    (prompt,) = in_order(open_prompts("gsm8k_r1_template:test"))
    open_prompts("gsm8k_r1_template")
    assert asked == ["datasets:openai/gsm8k:main:test", "datasets:openai/gsm8k:main:train"]
    assert isinstance(prompt.content, str)
    assert prompt.content.endswith("User: How many?. Assistant:")
    assert prompt.columns["answer"] == "Count.\n#### 3"
    (prompt,) = in_order(open_prompts("gsm8k_r1_template", template="Q: {question}"))
    assert prompt.content == "Q: How many?"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "needs the datasets package: pip install 'pytest-entropy[datasets]'" in refused("datasets:a/b")
