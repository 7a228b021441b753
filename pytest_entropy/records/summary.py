"""``summary.json``, the summary of an experiment, and the rows of ``results.csv``, one per finished run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import STRICT, Stored
from pytest_entropy.stats.measurement import Measurement
from pytest_entropy.stats.outcome import CheckOutcome
from pytest_entropy.stats.signal import format_measure, signal_to_noise


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One finished run as a row of a table; the fields are the columns, in order.

    Attributes:
        signal_to_noise: |SE / delta_h1|; None if undefined.
        seconds: the run's wall time over all phases.
        notes: caveats about the numbers; empty if there are none.
        second_error: the standard error over update batches in words, or why it is missing; empty if not configured.
            It is not a column, because ``se_total`` and ``notes`` contain it.
    """

    experiment: str
    directory: str
    B_E: int
    run: int
    delta_h1: float
    se_conditional: float | None
    signal_to_noise: float | None
    entropy_mean: float
    entropy_se: float | None
    length_mean: float
    eta: float
    estimator: str
    update_rule: str
    seconds: float
    peak_memory_mb: float
    seed: int
    se_total: float | None = None
    mode: Literal["two_batch", "u_statistic"] = "two_batch"
    notes: str = ""
    second_error: str = field(default="", compare=False)

    NOT_WRITTEN: ClassVar[tuple[str, ...]] = ("second_error",)
    __pydantic_config__: ClassVar = STRICT

    @property
    def measure(self) -> str:
        """delta_h1 and its standard error as text."""
        return format_measure(self.delta_h1, self.se_conditional)

    @property
    def entropy(self) -> str:
        """The policy's entropy and its standard error as text."""
        return format_measure(self.entropy_mean, self.entropy_se)

    @classmethod
    def of(cls, run: RunRecord, experiment: str) -> RunRow:
        """Make the row of a run.

        Args:
            run: the run's record.
            experiment: the experiment's name.
        """
        measured = Measurement.of(run)
        why = f": {measured.note}" if measured.second_error and measured.se_total is None else ""
        ratio, _ = signal_to_noise(run.delta_h1, run.se_conditional)
        computed: dict[str, object] = {
            "experiment": experiment,
            "signal_to_noise": ratio,
            "seconds": sum(run.seconds.values()),
            "notes": "; ".join(run.notes),
            "second_error": measured.second_error + why,
        }
        copied = {one.name: getattr(run, one.name) for one in fields(cls) if one.name not in computed}
        return cls(**(copied | computed))


@dataclass(frozen=True, kw_only=True)
class MeasuredChange:
    """The measured entropy change of an experiment: delta_h1 at its largest B_E, the mean over the runs there.

    Attributes:
        B_E, runs: the largest B_E, and the number of its runs.
        delta_h1: their mean, in ``unit``.
        se_conditional: its standard error for this update batch; in mode ``u_statistic``, over batches.
        se_total: its standard error over update batches; None if it was not computed, or could not be.
        note: why ``se_total`` could not be computed although it was asked for, else empty.
    """

    B_E: int
    runs: int
    delta_h1: float
    unit: str
    mode: Literal["two_batch", "u_statistic"] = "two_batch"
    se_conditional: float | None
    se_total: float | None = None
    note: str = ""

    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True, kw_only=True)
class SummaryRecord(Stored):
    """``summary.json``; its schema is shipped as ``records/schema/summary-1.json``.

    Attributes:
        tone: the verdict in one word.
        headline: the verdict in words.
        verdict: the conclusion of the experiment's analysis.
        failed_runs, missing_runs: names of the directories of runs without a result.
        plugin_analyses: results of other plugins' analyses, by plugin name.
        attempts: numbers of attempts by directory, of runs and update batches that took more than one.
        measured: the measured entropy change; None without a run, and in older files.
    """

    schema_version: Literal[1] = 1
    experiment: str
    stamp: str
    checkpoint: str
    checkpoint_digest: str
    config_digest: str
    tone: Literal["pass", "fail", "inconclusive"]
    headline: str
    verdict: str | None
    runs: list[RunRow]
    failed_runs: list[str]
    missing_runs: list[str]
    checks: list[CheckOutcome]
    comparison: Comparison | None
    environment: dict[str, str]
    plugin_analyses: dict[str, object]
    attempts: dict[str, int] = field(default_factory=dict)
    measured: MeasuredChange | None = None

    __pydantic_config__: ClassVar = STRICT
