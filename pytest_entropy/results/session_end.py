"""The files reports consist of, written next to an experiment's runs: at session end, or rebuilt later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.results.files import write_json, write_text
from pytest_entropy.results.html import render
from pytest_entropy.results.tables import to_csv, to_markdown, to_record
from pytest_entropy.results.view import ExperimentView, view_experiment

if TYPE_CHECKING:
    import pytest


def write_session_files(config: pytest.Config, experiments: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Reports of every experiment the session touched, and the step summary of a CI job that wants one."""
    directories = {
        Path(record["entropy_directory"]): None
        for records in experiments.values()
        for record in records
        if "entropy_directory" in record
    }
    views = [write_reports(directory) for directory in directories if (directory / "experiment.json").is_file()]
    for view in views:
        answers = config.hook.pytest_entropy_analysis(experiment=view.name, directory=view.directory, runs=view.runs)
        if answers:
            write_json(view.directory / "plugin_analyses.json", answers)
    job_summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if job_summary and views:
        with open(job_summary, "a", encoding="utf-8") as stream:
            stream.write(to_markdown(views))


def write_reports(directory: Path) -> ExperimentView:
    """``summary.json``, ``summary.md``, ``results.csv`` and ``report.html`` of one experiment directory."""
    view = view_experiment(directory)
    write_json(directory / "summary.json", to_record(view))
    write_text(directory / "summary.md", to_markdown([view]))
    write_text(directory / "results.csv", to_csv(view))
    write_text(directory / "report.html", render(view))
    return view


def rebuild(directories: Iterable[Path]) -> list[ExperimentView]:
    """Reports again from the run directories."""
    return [write_reports(directory) for directory in directories]
