"""List stored experiments, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import read_json
from pytest_entropy.records.paths import ERROR, RESULTS, SUMMARY
from pytest_entropy.records.results_directory import all_experiments, experiments_in, read_manifest
from pytest_entropy.records.summary import SummaryRecord
from pytest_entropy.reports.legacy import legacy_at


@dataclass(frozen=True)
class Entry:
    """One line of the listing: an experiment, how many of its ``planned`` runs are done or failed, and its verdict."""

    directory: Path
    name: str
    done: int
    failed: int
    planned: int
    headline: str


def experiments_at(places: Iterable[Path]) -> Iterator[tuple[Path, ExperimentRecord]]:
    """(directory, manifest) of the experiments in each place: an experiment, a category or a results directory.

    Raises:
        UsageError: a place holds neither an experiment nor results of the old script.
    """
    for place in places:
        manifest = read_manifest(place)
        if manifest is not None:
            yield place, manifest
            continue
        experiments = list(experiments_in(place)) or list(all_experiments(place))
        if not experiments and not any(legacy_at(place)):
            raise UsageError(f"{place}: no experiments here; give an experiment directory, a category, or results/")
        yield from experiments


def results_root(directory: Path) -> Path:
    """The results directory that holds an experiment directory."""
    return directory.absolute().parents[1]


def listing_entry(directory: Path, manifest: ExperimentRecord) -> Entry:
    """The listing's line of an experiment, from its summary, else from the files of its runs."""
    planned = manifest.planned_runs
    expected = len(planned)
    try:
        summary = SummaryRecord.from_dict(read_json(directory / SUMMARY))
        done, failed, headline = len(summary.runs), len(summary.failed_runs), summary.headline
        # Planned runs that a target of the error did not need are none of these.
        expected = min(expected, done + failed + len(summary.missing_runs))
    except (OSError, ValueError):
        done = sum((directory / run / RESULTS).is_file() for run in planned)
        failed = sum((directory / run / ERROR).is_file() for run in planned)
        headline = "no summary: the session did not end; `report` writes it"
    return Entry(directory, manifest.experiment, done, failed, expected, headline)
