"""A stored run as its ``results.json`` has it, and means over stored runs, by docs/mathematics.md §4."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import CHECKS, ERROR, RESULTS
from pytest_entropy.reports.audit.arithmetic import ROUNDING, mean, size
from pytest_entropy.reports.audit.ledger import finite, lookup, numbers


@dataclass(frozen=True)
class StoredRun:
    """One run: the name of its directory, and its ``results.json`` as plain values."""

    directory: str
    record: Mapping[str, Any]

    @property
    def B_E(self) -> int:
        """The number of prompts of its entropy batch."""
        return int(self.record["B_E"])

    @cached_property
    def order(self) -> tuple[int, int]:
        """(B_E, run number)."""
        return self.B_E, int(self.record["run"])

    @cached_property
    def name(self) -> str:
        """The run in words."""
        return f"B_E {self.order[0]} run {self.order[1]}"

    @property
    def is_single_batch(self) -> bool:
        """Whether it drew its own update."""
        return self.record.get("mode") == "u_statistic"

    def number(self, key: str) -> float | None:
        """The number at a dotted key; None where it is missing or NaN."""
        return finite(lookup(self.record, key))

    @cached_property
    def contributions(self) -> list[float]:
        """eta s_n of each prompt."""
        eta = self.number("eta")
        return [] if eta is None else [eta * s for s in numbers(self.record.get("per_prompt"))]

    @cached_property
    def seconds(self) -> float:
        """The run's time over all phases."""
        return math.fsum(numbers(list(lookup(self.record, "seconds").values())))

    @property
    def seconds_of_the_batch(self) -> float:
        """The run's time without the self-check, which a process makes once."""
        phases = lookup(self.record, "seconds")
        return math.fsum(numbers([taken for phase, taken in phases.items() if phase != "self_check"]))

    @property
    def most_memory(self) -> float:
        """The largest memory of any of its phases, in MiB."""
        return max(numbers(list(lookup(self.record, "memory_mb").values())), default=math.nan)


# Time of the last change, size and number of a file.
FileState = tuple[int, int, int]
# By file: its state, and the run in it; None where it holds none.
KnownRuns = dict[str, tuple[FileState, StoredRun | None]]


@dataclass(frozen=True)
class Before:
    """What an experiment's directory held before its reports were made: other processes may still add to it.

    Attributes:
        runs: directories of runs with a result.
        checks: contents of the checks' outcomes, by file name.
    """

    runs: frozenset[str]
    checks: Mapping[str, bytes]


def look_before(directory: Path) -> Before:
    """What the directory holds now."""
    runs = frozenset(name for name in _holding(directory, RESULTS) if not name.startswith("."))
    return Before(runs, {file.name: file.read_bytes() for file in directory.glob(CHECKS)})


def _holding(directory: Path, file: str) -> list[str]:
    """Names of the directories that hold ``file``."""
    return [name for name in os.listdir(directory) if os.path.exists(os.path.join(directory, name, file))]


def read_stored(directory: Path, names: Sequence[str], known: KnownRuns | None = None) -> dict[str, StoredRun]:
    """The runs of an experiment's directory by name, without those whose file is no run's or lacks its numbers.

    Args:
        directory: the experiment's.
        names: directories of runs.
        known: what was read before, and will be read again only where the file has changed; a new entry per run.
    """
    known = {} if known is None else known
    found = {}
    for name in names:
        file = os.path.join(directory, name, RESULTS)
        try:
            seen = os.stat(file)
        except OSError:
            continue
        state = seen.st_mtime_ns, seen.st_size, seen.st_ino
        if file not in known or known[file][0] != state:
            known[file] = state, _whole_run(file, name)
        run = known[file][1]
        if run is not None:
            found[name] = run
    return found


def _whole_run(file: str, name: str) -> StoredRun | None:
    """The run in a file; None where the file is no run's or lacks its numbers."""
    try:
        with open(file, "rb") as stream:
            record = json.loads(stream.read())
        run = StoredRun(name, record)
        whole = all(type(record[key]) is int for key in ("B_E", "run")) and bool(run.order) and run.seconds >= 0
        whole = whole and run.number("delta_h1") is not None and run.number("eta") is not None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    return run if whole else None


def failed(directory: Path) -> set[str]:
    """Names of the directories that hold an error and no result."""
    return {name for name in _holding(directory, ERROR) if not (directory / name / RESULTS).is_file()}


@dataclass(frozen=True)
class PooledRuns:
    """The mean of several runs along one update: its value and both errors.

    Attributes:
        value: mean delta_h1.
        se: its standard error for this update batch; of single batches, over batches.
        variance: over update batches, without bias; None where it was not computed, and it may be negative.
        recorded: of a single run, its own ``se_total``.
    """

    value: float | None
    se: float | None
    variance: float | None
    recorded: float | None = None

    def total_near(self, shown: float | None) -> float | None:
        """The error over update batches; of two admissible ones that which is nearer to ``shown``.

        An unbiased variance below the one given the update batch, which the variance is at least, may be replaced by it
        (docs/mathematics.md §4).
        """
        if self.recorded is not None or self.variance is None or self.se is None:
            return self.recorded
        unbiased = math.sqrt(self.variance) if self.variance >= 0 else None
        if self.variance >= self.se**2 or shown is None:
            return unbiased
        return min((one for one in (unbiased, self.se) if one is not None), key=lambda one: abs(one - shown))


def pooled(runs: Sequence[StoredRun], among: Iterable[StoredRun]) -> PooledRuns:
    """The mean of the runs with its errors: with R runs along K updates the variance is A/R + B/K + T/R.

    Args:
        runs: the runs.
        among: all runs of their experiment, of which those that estimated B give it, weighted by their prompts.
    """
    others = list(among)
    deltas = [run.number("delta_h1") for run in runs]
    known = [value for value in deltas if value is not None]
    value = mean(known) if known and len(known) == len(runs) else None
    errors = [run.number("se_conditional") for run in runs]
    squares = [error**2 for error in errors if error is not None]
    se = None
    if len(squares) == len(runs):
        # Runs that each draw a share of one set of prompts do not average out what that set's prompts differ by.
        shares = [run.number("sampling_fraction") for run in runs]
        share = max([0.0, *(one for one in shares if one is not None)]) if len(runs) > 1 else 0.0
        se = math.sqrt(mean(squares) * ((1 - share) / len(runs) + share))
    if runs[0].is_single_batch:
        return PooledRuns(value, se, None if se is None else se**2, se)
    parts = [
        (run.B_E, total - error**2)
        for run in others
        if (total := run.number("variance_total")) is not None and (error := run.number("se_conditional")) is not None
    ]
    variance = None
    if parts and se is not None:
        updates = len({run.number("update.fingerprint") for run in runs})
        of_updates = math.fsum(B_E * part for B_E, part in parts) / sum(B_E for B_E, _ in parts)
        variance = se**2 + of_updates / updates
    return PooledRuns(value, se, variance, runs[0].number("se_total") if len(others) == 1 else None)


def rounding_of(runs: Sequence[StoredRun]) -> float:
    """The rounding of a mean over the runs' prompts, in the unit of delta_h1.

    Args:
        runs: the stored runs.
    """
    return ROUNDING * size([value for run in runs for value in run.contributions])
