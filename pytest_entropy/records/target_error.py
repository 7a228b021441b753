"""``target_error.json``: the runs that were taken until the error of their mean reached its target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored


@dataclass(frozen=True, kw_only=True)
class TargetRecord(Stored):
    """How far runs were taken, and why no further.

    Attributes:
        target_se: the error that was asked for: a size in the unit of delta_h1, or a share of it such as ``10%``.
        allowed: the largest standard error that it allows, in the unit of delta_h1.
        se: the standard error of the mean of the runs, for their update batches; None where it is not known.
        reached: whether it is at most ``allowed``.
        runs: number of runs that were taken.
        most_runs: number of runs that were allowed.
        pilot_runs: number of the first runs, by whose error the number of runs was predicted.
        predicted_runs: that prediction; None where there was none, or where no number would do.
        seconds_per_run: mean time of a run.
        not_needed: names of the directories of planned runs that were not taken, because the target is reached.
    """

    target_se: str
    allowed: float
    se: float | None
    reached: bool
    runs: int
    most_runs: int
    pilot_runs: int
    predicted_runs: float | None
    seconds_per_run: float
    not_needed: list[str] = field(default_factory=list)

    __pydantic_config__: ClassVar = STRICT

    def in_words(self) -> str:
        """The error against the target, and the number of runs."""
        runs = f"{self.runs} of at most {self.most_runs} runs"
        share = f" ({self.target_se})" if self.target_se.endswith("%") else ""
        error = "no error" if self.se is None else f"error {self.se:.3g}"
        outcome = "reached" if self.reached else "NOT reached"
        return f"target {outcome}: {error} after {runs}, {self.allowed:.3g}{share} asked for"
