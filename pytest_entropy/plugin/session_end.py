"""Write the reports of experiments and of the session, at session end or again later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.plugin import options
from pytest_entropy.records.files import read_json, write_json, write_text
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.paths import MANIFEST, PLUGIN_ANALYSES, REPORT, RESULTS, SUMMARY, SUMMARY_TEXT, TABLE
from pytest_entropy.reports.html import render
from pytest_entropy.reports.index import write_index, write_session_record
from pytest_entropy.reports.measured_change import measured_change
from pytest_entropy.reports.results_index import write_results_index
from pytest_entropy.reports.tables import summary_of, to_csv, to_markdown
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.runs.retention import prune

if TYPE_CHECKING:
    import pytest

    from pytest_entropy.plugin.session_audit import SessionAudit


def write_session_files(
    config: pytest.Config, root: Path, stamp: str, items: Iterable[ItemReport], audit: SessionAudit
) -> tuple[list[ExperimentView], list[str]]:
    """Write the reports of the session's experiments, the session's index, and the files for CI and TensorBoard.

    A file that cannot be written prevents no other, least of all pytest's own JUnit file.

    Args:
        config: pytest's, with the options' values and the hooks of other plugins.
        root: the directory of all results.
        stamp: the session's time stamp.
        items: the session's item reports.
        audit: reads what was written a second time, and keeps the discrepancies that it finds.

    Returns:
        The experiments, and messages about the files that could not be written.
    """
    reported = {Path(item.directory): None for item in items if item.directory}
    directories = [directory for directory in reported if (directory / MANIFEST).is_file()]
    trouble: list[str] = []
    views = []
    # First the files that `report` cannot write again later.
    with _noted(trouble, "record of the session"):
        write_session_record(root, stamp, directories)
    for directory in directories:
        with _noted(trouble, "other plugins' analyses"):
            ask_plugins(config, directory)
        with _noted(trouble, f"report of {directory.name}"):
            audit.look_before(directory)
            views.append(write_reports(directory))
            with _noted(trouble, f"audit of {directory.name}", "NOT made"):
                audit.experiment(views[-1])
    with _noted(trouble, "index of the session"):
        page = write_index(root, stamp, views)
        with _noted(trouble, "audit of the session's page", "NOT made"):
            audit.index(page, views)
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
def _noted(trouble: list[str], what: str, words: str = "NOT written") -> Iterator[None]:
    """Turn an error of the block into a line of ``trouble``."""
    try:
        yield
    except Exception as error:
        trouble.append(f"{what} {words}: {type(error).__name__}: {error}")


def prune_as_asked(config: pytest.Config, root: Path) -> tuple[list[str], list[str]]:
    """Remove old experiments as ``--entropy-keep`` says; messages about what was removed and what could not be.

    This session's own experiments are in use, and stay.
    """
    keep = options.given(config, "--entropy-keep")
    removed: list[Path] = []
    try:
        removed += [candidate.directory for candidate in prune(root, keep) if not candidate.spared] if keep else []
    except OSError as error:
        return [], [f"older experiments NOT removed (--entropy-keep {keep}): {error}"]
    return [f"removed {len(removed)} older experiments (--entropy-keep {keep})"] if removed else [], []


def write_overview(root: Path, audit: SessionAudit, views: Sequence[ExperimentView]) -> tuple[list[str], list[str]]:
    """Write the page over all sessions, after old experiments are removed.

    It adds nothing to the results, so that a session does not fail where it cannot be written.

    Args:
        root: the directory of all results.
        audit: reads the page a second time.
        views: the session's experiments.

    Returns:
        Messages about what could not be done, and the discrepancies that the audit found.
    """
    trouble: list[str] = []
    found: list[str] = []
    with _noted(trouble, "page over all sessions"):
        written = write_results_index(root)
        if written is not None:
            found = audit.overview(written, views)
    return trouble, found


def ask_plugins(config: pytest.Config, directory: Path) -> None:
    """Call other plugins' analyses of an experiment, and write their answers into its directory by plugin name."""
    implementations = config.hook.pytest_entropy_analysis.get_hookimpls()
    if not implementations:
        return
    view = view_experiment(directory)
    runs = [read_json(directory / run.directory / RESULTS) for run in view.runs]
    arguments = {"experiment": view.name, "directory": directory, "runs": runs}
    answers = {}
    for implementation in implementations:
        answer = implementation.function(*(arguments[name] for name in implementation.argnames))
        if answer is not None:
            answers[implementation.plugin_name] = answer
    write_json(directory / PLUGIN_ANALYSES, answers)


def write_reports(directory: Path) -> ExperimentView:
    """Write ``summary.json``, ``summary.md``, ``results.csv`` and ``report.html`` of one experiment directory.

    Raises:
        UsageError: it is not an experiment directory, or a file in it cannot be read.
    """
    view = view_experiment(directory)
    write_json(directory / SUMMARY, replace(summary_of(view), measured=measured_change(view)).to_dict())
    write_text(directory / SUMMARY_TEXT, to_markdown([view]))
    write_text(directory / TABLE, to_csv(view))
    write_text(directory / REPORT, render(view))
    return view
