"""The tables of an experiment, with a row per run or per B_E, for terminal, Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain
from pytest_entropy.records.summary import RunRow, SummaryRecord
from pytest_entropy.reports.attempts import computed_again
from pytest_entropy.reports.reach import left_open
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import Measurement, format_measure, measurements, pool, signal_to_noise
from pytest_entropy.stats.measurement import NOT_DETERMINED, OVER_UPDATES

COLUMNS = tuple(one.name for one in fields(RunRow) if one.name not in RunRow.NOT_WRITTEN)


@dataclass(frozen=True)
class SizeRow:
    """The row of all runs at one B_E.

    Attributes:
        B_E: number of prompts of the entropy batch.
        runs: number of runs.
        mean: mean delta_h1 of the runs, with both its errors.
        seconds: mean time of a run.
    """

    B_E: int
    runs: int
    mean: Measurement
    seconds: float

    @classmethod
    def of(cls, runs: Sequence[RunRecord], measured: Sequence[Measurement]) -> SizeRow:
        """The row of these runs, all of one B_E, and of their measurements."""
        return cls(runs[0].B_E, len(runs), pool(measured), fmean(sum(run.seconds.values()) for run in runs))

    @property
    def ratio(self) -> float | None:
        """|SE / delta_h1| of a single run at this size; None where it is undefined."""
        return signal_to_noise(self.mean.value, self._se_of_a_run)[0]

    @property
    def _se_of_a_run(self) -> float | None:
        """Standard error of a single run's delta_h1, from that of the mean."""
        return None if self.mean.se is None else self.mean.se * self.runs**0.5

    @property
    def measure(self) -> str:
        """Mean and standard error in words."""
        return format_measure(self.mean.value, self.mean.se)

    @property
    def noise(self) -> str:
        """:attr:`ratio` and its label, ``-`` where it is undefined."""
        ratio, label = signal_to_noise(self.mean.value, self._se_of_a_run)
        return "-" if ratio is None else f"{ratio:.2f} {label}"

    def cells(self, *, both: bool) -> list[str]:
        """The row's texts; ``both`` adds the error over update batches."""
        second = [self.mean.second_error or "-"] if both else []
        return [str(self.B_E), str(self.runs), self.measure, *second, self.noise, f"{self.seconds:.2f}"]


@dataclass(frozen=True)
class SizeTable:
    """The table of mean delta_h1, its standard errors, noise and seconds per run: a row per B_E, in increasing order.

    Attributes:
        sizes: the rows.
        unit: unit of delta_h1.
    """

    sizes: list[SizeRow]
    unit: str

    @property
    def both(self) -> bool:
        """Whether the table has a column for the error over update batches, because it was computed."""
        return any(row.mean.second_error for row in self.sizes)

    @property
    def cells(self) -> list[list[str]]:
        """The texts of all rows."""
        return [row.cells(both=self.both) for row in self.sizes]

    @property
    def errors(self) -> str:
        """The legend of the table's errors (:func:`legend`)."""
        return legend([row.mean for row in self.sizes])


def size_table(view: ExperimentView) -> SizeTable:
    """The table by B_E of an experiment's finished runs."""
    by_size: dict[int, list[tuple[RunRecord, Measurement]]] = {}
    for run, measured in zip(view.runs, measurements(view.runs), strict=True):
        by_size.setdefault(run.B_E, []).append((run, measured))
    rows = [SizeRow.of(*zip(*by_size[size], strict=True)) for size in sorted(by_size)]
    return SizeTable(rows, view.unit)


def run_rows(view: ExperimentView) -> list[RunRow]:
    """One row per finished run."""
    return [RunRow.of(run, view.name) for run in view.runs]


def legend(means: Sequence[Measurement]) -> str:
    """The legend of a table's errors: over which batches each is, and why one is not determined; empty without rows.

    >>> legend([Measurement(-0.02, 0.001, 64)])
    '± SE: for this update batch U'
    """
    if not means:
        return ""
    parts = [f"± SE: {means[0].scope}{'' if means[0].single_batch else ' U'}"]
    if any(mean.second_error for mean in means):
        parts.append(f"± over U: {OVER_UPDATES}")
    notes = dict.fromkeys(mean.note for mean in means if mean.second_error == NOT_DETERMINED)
    return "; ".join([*parts, *(f"{NOT_DETERMINED}: {note}" for note in notes)])


def to_csv(view: ExperimentView) -> str:
    """The text of ``results.csv``: a row per run, numbers in full precision, missing values empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(row) for row in run_rows(view))
    return stream.getvalue()


def summary_of(view: ExperimentView) -> SummaryRecord:
    """The record of an experiment for ``summary.json``."""
    manifest = view.manifest
    return SummaryRecord(
        experiment=view.name,
        stamp=manifest.stamp,
        checkpoint=manifest.checkpoint,
        checkpoint_digest=manifest.checkpoint_digest,
        config_digest=manifest.config_digest,
        tone=view.tone,
        headline=view.headline,
        verdict=view.verdict,
        runs=run_rows(view),
        failed_runs=view.failed_runs,
        missing_runs=view.missing,
        checks=list(view.checks.values()),
        comparison=view.comparison,
        environment=manifest.environment,
        plugin_analyses=view.plugin_analyses,
        attempts=view.attempts,
    )


def to_markdown(views: Sequence[ExperimentView]) -> str:
    """The text of ``summary.md``: per experiment its verdict, then its table and checks."""
    lines = ["# Entropy probes", ""]
    for view in views:
        lines += [f"## {view.name}", "", f"**{_escape(view.headline)}**", ""]
        if view.runs:
            lines += _markdown_table(size_table(view))
        for check in view.checks.values():
            p = "" if check.p_value is None else f", p = {check.p_value:.3g} (α = {check.alpha:.2g})"
            lines.append(f"- {check.name}: {check.verdict}{p}")
        lines += [f"- failed run: {name}" for name in sorted(view.failures)]
        if again := computed_again(view.attempts):
            lines.append(f"- {again}")
        if said := left_open(view):
            lines += ["", _escape(said)]
        # Only the last three parts, from results/ on: the same text from any working directory.
        lines += ["", f"Results: `{'/'.join(view.directory.absolute().parts[-3:])}`", ""]
    return "\n".join(lines)


def _markdown_table(table: SizeTable) -> list[str]:
    over_u = " ± over U |" if table.both else ""
    return [
        f"| B_E | runs | mean δH₁ ± SE ({table.unit}) |{over_u} SE/δH₁ of a run | s/run |",
        f"|--:|--:|---|{'---|' if table.both else ''}---|--:|",
        *(f"| {' | '.join(cells)} |" for cells in table.cells),
        "",
        _escape(table.errors),
        "",
    ]


def _escape(text: str) -> str:
    # "](" in an error's text would make a link or a picture of it.
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("](", "]\\(")
