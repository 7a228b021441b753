"""The files reports consist of, written next to an experiment's runs: at session end, or rebuilt later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.plugin import options
from pytest_entropy.records.files import read_json, write_json, write_text
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.paths import MANIFEST, PLUGIN_ANALYSES, REPORT, RESULTS, SUMMARY, SUMMARY_TEXT, TABLE
from pytest_entropy.reports.html import render
from pytest_entropy.reports.index import write_index, write_session_record
from pytest_entropy.reports.tables import summary_of, to_csv, to_markdown
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.runs.retention import prune

if TYPE_CHECKING:
    import pytest


def write_session_files(
    config: pytest.Config, root: Path, stamp: str, items: Iterable[ItemReport]
) -> tuple[list[ExperimentView], list[str]]:
    """Reports of every experiment the session touched, the session's index, and what CI and TensorBoard read.

    Args:
        root: the directory of all results.
        stamp: the session's.
        items: what the session's items reported.

    Returns:
        The experiments, and what could not be written, in words: one file less keeps no other from being written,
        least of all pytest's own JUnit file.
    """
    found = {Path(item.directory): None for item in items if item.directory}
    directories = [directory for directory in found if (directory / MANIFEST).is_file()]
    trouble: list[str] = []
    views = []
    # First what a later rebuild of the reports cannot make again.
    with _noted(trouble, "record of the session"):
        write_session_record(root, stamp, directories)
    for directory in directories:
        with _noted(trouble, "other plugins' analyses"):
            ask_plugins(config, directory)
        with _noted(trouble, f"report of {directory.name}"):
            views.append(write_reports(directory))
    with _noted(trouble, "index of the session"):
        write_index(root, stamp, views)
    job_summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if job_summary and views:
        with _noted(trouble, "GITHUB_STEP_SUMMARY"), open(job_summary, "a", encoding="utf-8") as stream:
            stream.write(to_markdown(views))
    tensorboard = options.given(config, "--entropy-tensorboard")
    if tensorboard:
        from pytest_entropy.plugin.tensorboard import write_events

        with _noted(trouble, "TensorBoard events"):
            write_events(views, Path(tensorboard).expanduser())
    return views, trouble


@contextmanager
def _noted(trouble: list[str], what: str) -> Iterator[None]:
    """An error becomes a line of ``trouble``."""
    try:
        yield
    except Exception as error:
        trouble.append(f"{what} NOT written: {type(error).__name__}: {error}")


def prune_as_asked(config: pytest.Config, root: Path) -> tuple[list[str], list[str]]:
    """``--entropy-keep``: what was removed and what could not be, in words.

    This session's own experiments are in use, and among the newest anyway.
    """
    keep = options.given(config, "--entropy-keep")
    gone: list[Path] = []
    try:
        gone += [found.directory for found in prune(root, keep) if not found.spared] if keep else []
    except OSError as error:
        return [], [f"older experiments NOT removed (--entropy-keep {keep}): {error}"]
    return [f"removed {len(gone)} older experiments (--entropy-keep {keep})"] if gone else [], []


def ask_plugins(config: pytest.Config, directory: Path) -> None:
    """Keep other plugins' analyses of an experiment beside it, by the name of the plugin."""
    implementations = config.hook.pytest_entropy_analysis.get_hookimpls()
    if not implementations:
        return
    view = view_experiment(directory)
    runs = [read_json(directory / run.directory / RESULTS) for run in view.runs]
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
    write_json(directory / SUMMARY, summary_of(view).to_dict())
    write_text(directory / SUMMARY_TEXT, to_markdown([view]))
    write_text(directory / TABLE, to_csv(view))
    write_text(directory / REPORT, render(view))
    return view
