"""The header's lines about the base model and about ``--resume``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_entropy.reports.header import base_lines, resume_lines


def plan(directory: Path, *, target: str | None = None, **more: Any) -> SimpleNamespace:
    batch = SimpleNamespace(target_se=target)
    more.setdefault("resolved", SimpleNamespace(config=SimpleNamespace(batch_config=batch)))
    return SimpleNamespace(
        directory=directory,
        runs=[(4, 1), (4, 2), (8, 1)],
        run_directory=lambda B_E, run: f"{B_E}_{run}",
        **{"resumed": True, "nothing_kept": "", **more},
    )


def test_resume_says_how_many_runs_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "results" / "mine" / "x"
    # A failed run is computed again.
    for name, file in (("4_1", "results.json"), ("4_2", "error.txt"), ("8_1", "results.json")):
        (directory / name).mkdir(parents=True)
        (directory / name / file).touch()
    assert resume_lines(plan(directory)) == ["  resume: kept 2 of 3 runs of results/mine/x; 1 to compute"]
    most = "  resume: kept 2 of 3 runs of results/mine/x; at most 1 to compute"
    assert resume_lines(plan(directory, target="10%")) == [most]
    (directory / "4_2" / "results.json").touch()
    assert resume_lines(plan(directory)) == ["  resume: kept 3 of 3 runs of results/mine/x; nothing to compute"]


def test_resume_says_why_it_keeps_nothing_and_without_it_nothing_is_said(tmp_path: Path) -> None:
    why = "there is no earlier mine in results/mine"
    assert resume_lines(plan(tmp_path, resumed=False, nothing_kept=why)) == [f"  resume: nothing kept: {why}"]
    assert resume_lines(plan(tmp_path, resumed=False)) == []


@pytest.mark.parametrize(
    ("base", "checkpoint", "lines"),
    [
        ("base", "runs/step_3", ["  base model: {here}/base (relative to the working directory)"]),
        ("some/model", "runs/step_3", ["  base model: some/model (relative to the working directory)"]),
        (None, "runs/step_3", []),
        ("base", "demo", []),
    ],
)
def test_the_base_model_is_shown_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str | None, checkpoint: str, lines: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    files = SimpleNamespace(base=base, base_source="relative to the working directory", renamed="")
    resolved = SimpleNamespace(config=SimpleNamespace(checkpoint=checkpoint))
    assert base_lines(SimpleNamespace(files=files, resolved=resolved)) == [line.format(here=tmp_path) for line in lines]
