"""The files reports consist of, written next to an experiment's runs: at session end, or rebuilt later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy import options
from pytest_entropy.results.files import read_json, write_json, write_text
from pytest_entropy.results.html import render
from pytest_entropy.results.index import write_index, write_session_record
from pytest_entropy.results.naming import MANIFEST
from pytest_entropy.results.prune import prune
from pytest_entropy.results.store import RESULTS
from pytest_entropy.results.tables import to_csv, to_markdown, to_record
from pytest_entropy.results.view import PLUGIN_ANALYSES, ExperimentView, view_experiment

if TYPE_CHECKING:
    import pytest


def write_session_files(
    config: pytest.Config, root: Path, stamp: str, experiments: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[ExperimentView]:
    """Reports of every experiment the session touched, the session's index, and what CI and TensorBoard read.

    Args:
        root: the directory of all results.
        stamp: the session's.
        experiments: what the items reported, by experiment.
    """
    found = {
        Path(record["entropy_directory"]): None
        for records in experiments.values()
        for record in records
        if "entropy_directory" in record
    }
    directories = [directory for directory in found if (directory / MANIFEST).is_file()]
    # First what a later rebuild of the reports cannot make again.
    write_session_record(root, stamp, directories)
    for directory in directories:
        ask_plugins(config, directory)
    views = rebuild(directories)
    write_index(root, stamp, views)
    job_summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if job_summary and views:
        with open(job_summary, "a", encoding="utf-8") as stream:
            stream.write(to_markdown(views))
    tensorboard = options.given(config, "--entropy-tensorboard")
    if tensorboard:
        from pytest_entropy.results.tensorboard import write_events

        write_events(views, Path(tensorboard).expanduser())
    return views


def prune_as_asked(config: pytest.Config, root: Path) -> None:
    """``--entropy-keep``; this session's own experiments are in use, and among the newest anyway."""
    keep = options.given(config, "--entropy-keep")
    if keep:
        list(prune(root, keep))


def ask_plugins(config: pytest.Config, directory: Path) -> None:
    """Keep other plugins' analyses of an experiment beside it, by the name of the plugin."""
    implementations = config.hook.pytest_entropy_analysis.get_hookimpls()
    if not implementations:
        return
    view = view_experiment(directory)
    runs = [read_json(directory / run["directory"] / RESULTS) for run in view.runs]
    offered = {"experiment": view.name, "directory": directory, "runs": runs}
    answers = {}
    for one in implementations:
        answer = one.function(*(offered[name] for name in one.argnames))
        if answer is not None:
            answers[one.plugin_name] = answer
    write_json(directory / PLUGIN_ANALYSES, answers)


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
