"""The record of one run, ``results.json``, which the terminal, JUnit, reports and the regression gate read."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from pytest_entropy.records.diagnostics import CompanionParts, Diagnostics, SingleBatchParts, VarianceParts
from pytest_entropy.records.second_reading import SecondReading
from pytest_entropy.records.serialization import STRICT, Stored, read, read_text
from pytest_entropy.records.update import UpdateRecord

# In the notes of runs whose prompts are not those that the trainer logged.
OF_THE_LOG = "prompts in the trainer's log"


@dataclass(frozen=True)
class RunRecord(Stored):
    """One run: the first-order entropy change delta_h1 with its standard error, and the evidence for both.

    Attributes:
        B_E, G: prompts of the entropy batch, and responses to each.
        run, seed: the run's number among those at this B_E, and its seed.
        delta_h1: eta * mean_n s_n, in ``unit`` (docs/mathematics.md §3).
        unit: "nats per response" or "nats per token".
        mode: ``two_batch``, or ``u_statistic``, in which update and entropy gradient come from one batch, and
            ``variance_conditional`` is the total variance.
        variance_conditional: V_E(delta_h1 | U) = eta^2 var(s, ddof=1) / B_E.
        se_conditional: its square root; None if B_E < 2, never 0.
        per_prompt: s_n = <X_n, u>, ``[B_E]``, ``unit`` per unit of eta, with companion reads s~_n; with ``unit`` "nats
            per token" or mode ``u_statistic`` pseudo-values, whose mean is the estimate and whose spread gives its
            standard error.
        companions: the companion reads, by which s~_n differs from <X_n, u>.
        variance_total, se_total: variance and standard error with U random as well (docs/mathematics.md §4); None if
            not configured. The unbiased variance may be negative; ``se_total`` is then the root of its larger part.
        variance_parts: ``entropy_batch`` + ``update_batch`` - ``interaction`` is ``variance_total``.
        u_statistic: the numbers from which a U-statistic can be recomputed.
        notes: caveats about the numbers.
        eta, eta_source: the learning rate that scales s_n to delta_h1, and where it comes from.
        estimator, update_rule: their names.
        diagnostics: further per-prompt scalars of the same rollouts, ``[B_E]``, by estimator.
        asked: the configured diagnostics, whose results this record must therefore hold; None if not recorded.
        state_changed: what the run left changed of the policy, the optimizer's state and the process, in words;
            None if that was not compared.
        sampling_fraction: the share of the N distinct prompts available to E that E drew, B_E / N, or that its k >= 1
            companions may be, k B_E / N: runs on a small set share prompts; 0 with replacement.
        prompts: E's prompts, ``[B_E]``: a number each, equal for equal prompts in all runs
            (:func:`~pytest_entropy.records.seeds.prompt_number`); None in mode ``u_statistic``, whose prompts the
            update names, and where it was not recorded.
        expected_surprises: expected number of the batch's responses that leave the likeliest path, the sum of
            :func:`~.derivative_piece.expected_first_surprises`; every mean over sampled tokens rests on them.
        entropy_mean, entropy_se: the policy's entropy on the E batch and its standard error, in ``unit``.
        length_mean: mean length of a response in tokens.
        ended_share: share of the responses that ended with an end token.
        agreement: discrepancies that must be 0, and the numbers they are judged by.
        seconds, memory_mb: wall time, and peak memory in MiB, by phase.
        peak_memory_mb: the process's peak memory until the end of the run, in MiB.
        update: the update batch and its direction.
        reading: the checkpoint's files, read a second time, against the policy and optimizer state of the run.
        arrays: token-level evidence and the eta sweep, by name; they are stored beside the record.
        directory: name of the run's directory; empty if it has none.

    Raises:
        RecordError: (:meth:`from_dict`) the record is not a run's.
    """

    B_E: int
    G: int
    run: int
    seed: int
    delta_h1: float
    variance_conditional: float | None
    se_conditional: float | None
    per_prompt: Sequence[float]
    eta: float
    eta_source: str
    estimator: str
    update_rule: str
    entropy_mean: float
    entropy_se: float | None
    length_mean: float
    ended_share: float
    agreement: Diagnostics
    seconds: dict[str, float]
    peak_memory_mb: float
    update: UpdateRecord
    unit: str = "nats per response"
    mode: str = "two_batch"
    variance_total: float | None = None
    se_total: float | None = None
    variance_parts: VarianceParts = field(default_factory=VarianceParts)
    u_statistic: SingleBatchParts = field(default_factory=SingleBatchParts)
    companions: CompanionParts = field(default_factory=CompanionParts)
    notes: list[str] = field(default_factory=list)
    diagnostics: dict[str, Sequence[float]] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    asked: list[str] | None = None
    state_changed: list[str] | None = None
    sampling_fraction: float | None = None
    expected_surprises: float | None = None
    reading: SecondReading = field(default_factory=SecondReading)
    prompts: list[int] | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    directory: str = field(default="", compare=False)

    NOT_WRITTEN: ClassVar[tuple[str, ...]] = ("arrays", "directory")
    __pydantic_config__: ClassVar[object] = STRICT

    @property
    def entropy_term(self) -> Sequence[float] | None:
        """<X_n, u>, ``[B_E]``, in nats per response for every ``unit`` and ``mode``; None if the record lacks it."""
        # With companion reads, and per token, it is recorded beside ``per_prompt``.
        direct = not self.is_other_unit and not self.companions.count
        return self.diagnostics.get(self.estimator, self.per_prompt if direct else None)

    @property
    def is_other_unit(self) -> bool:
        """Whether ``per_prompt`` is in another unit than <X_n, u>, per token or of a single batch."""
        return self.mode != "two_batch" or self.unit != "nats per response"

    @property
    def update_fingerprint(self) -> float | None:
        """A number that identifies the direction of the run's update; None where it was not recorded."""
        return self.update.fingerprint

    def slim(self) -> RunRecord:
        """A copy with only the fields that reports show, so that ten thousand runs fit into memory.

        It retains rewards and sample of an update whose rewards are equal within every group.
        """
        update = self.update
        rewards = update.rewards if update.sample else []
        shown = UpdateRecord(
            sample=update.sample, still_terms=update.still_terms, rewards=rewards, fingerprint=update.fingerprint
        )
        return replace(
            self, per_prompt=array("d", self.per_prompt), update=shown, diagnostics={}, prompts=None, arrays={},
            companions=CompanionParts(count=self.companions.count),
        )  # fmt: skip

    @classmethod
    def from_dict(
        cls, record: object, arrays: Mapping[str, np.ndarray] | None = None, *, directory: str = ""
    ) -> RunRecord:
        """Read a run from its JSON form, the inverse of :meth:`to_dict`; unknown keys are ignored.

        Args:
            record: the parsed ``results.json``.
            arrays: the arrays stored beside it, by name.
            directory: name of the run's directory.

        Raises:
            RecordError: a required key is missing, or a value has the wrong type.
        """
        return replace(read(cls, record), arrays={} if arrays is None else arrays, directory=directory)

    @classmethod
    def from_json(
        cls, text: bytes, arrays: Mapping[str, np.ndarray] | None = None, *, directory: str = ""
    ) -> RunRecord:
        """Read a run from the content of ``results.json``; faster than :meth:`from_dict`, for reports of many runs.

        Args:
            text: the content of ``results.json``.
            arrays: the arrays stored beside it, by name.
            directory: name of the run's directory.

        Raises:
            RecordError: the text is not JSON, a required key is missing, or a value has the wrong type.
        """
        return replace(read_text(cls, text), arrays={} if arrays is None else arrays, directory=directory)
