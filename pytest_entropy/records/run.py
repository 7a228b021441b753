"""One run: from the probe to ``results.json``, JUnit, terminal, report and regression gate."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from pytest_entropy.records.diagnostics import Diagnostics, SingleBatchParts, VarianceParts
from pytest_entropy.records.serialization import STRICT, Stored, read, read_text
from pytest_entropy.records.update import UpdateRecord


@dataclass(frozen=True)
class RunRecord(Stored):
    """One run: the first-order entropy change and its conditional error, with the evidence.

    Attributes:
        B_E: prompts of the entropy batch; ``G`` responses each.
        run, seed: which of the runs at this B_E, and its seed.
        delta_h1: eta * mean_n s_n, in ``unit``.
        unit: "nats per response" or "nats per token".
        mode: ``two_batch`` or ``u_statistic``; in the latter update and entropy gradient share the batch, and
            ``variance_conditional`` is conditional on nothing: it is the total.
        variance_conditional: V_E(delta_h1 | U) = eta^2 var(s, ddof=1) / B_E.
        se_conditional: its root; None where B_E < 2, never 0.
        per_prompt: s_n, B_E numbers, ``unit`` per unit of eta: <X_n, u>; per token and for a U-statistic
            pseudo-values instead, with the same mean and spread as the estimate they stand for.
        variance_total, se_total: with U random as well (docs/mathematics.md §4); None where it was not asked for,
            or for the SE where the unbiased estimate is negative (``notes`` says so).
        variance_parts: ``entropy_batch`` + ``update_batch`` - ``interaction`` is ``variance_total``.
        u_statistic: what its value is recomputed from, see :class:`SingleBatchParts`.
        notes: what a reader has to know about the numbers.
        eta: the learning rate that scales s_n to delta_h1.
        diagnostics: further per-prompt scalars from the same rollouts, by estimator.
        asked: the configured diagnostics: what of the records below has to be there (None: not recorded).
        sampling_fraction: share of the distinct prompts E could have drawn that it did draw, B_E / N: runs on one
            small set share prompts; 0 with replacement.
        expected_surprises: how many of the batch's responses are expected to leave the likeliest path, the sum of
            :func:`~.directional.expected_first_surprises`: what carries every mean over sampled tokens.
        entropy_mean, entropy_se: of the policy on the E batch, in ``unit``.
        length_mean: tokens per response.
        ended_share: responses that ended by themselves.
        agreement: discrepancies that have to be 0, and what they are judged by.
        seconds, memory_mb: wall time, and most memory held (MiB), by phase.
        peak_memory_mb: of the process so far.
        arrays: token-level evidence and the eta sweep, by name; they are stored beside the record.
        directory: name of the run's directory, empty where it is of none.

    Raises:
        RecordError: (:meth:`from_dict`) what was read is not a run.
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
    notes: list[str] = field(default_factory=list)
    diagnostics: dict[str, Sequence[float]] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    asked: list[str] | None = None
    sampling_fraction: float | None = None
    expected_surprises: float | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    directory: str = field(default="", compare=False)

    NOT_WRITTEN: ClassVar[tuple[str, ...]] = ("arrays", "directory")
    __pydantic_config__: ClassVar[object] = STRICT

    @property
    def entropy_term(self) -> Sequence[float] | None:
        """<X_n, u> in nats per response, whatever ``unit`` and ``mode``; None where the record lacks it."""
        if self.mode == "two_batch" and self.unit == "nats per response":
            return self.per_prompt
        return self.diagnostics.get(self.estimator)

    def slim(self) -> RunRecord:
        """The run as reports show it: without what only checks need, so that ten thousand fit into memory.

        Of an update that moves nothing the rewards and the sample stay.
        """
        update = self.update
        kept = UpdateRecord(sample=update.sample, rewards=update.rewards) if update.sample else UpdateRecord()
        return replace(self, per_prompt=array("d", self.per_prompt), update=kept, diagnostics={}, arrays={})

    @classmethod
    def from_dict(
        cls, record: object, arrays: Mapping[str, np.ndarray] | None = None, *, directory: str = ""
    ) -> RunRecord:
        """The inverse of :meth:`to_dict`; keys it does not know are left aside.

        Raises:
            RecordError: a key without which there is no run is missing, or a value is of another type.
        """
        return replace(read(cls, record), arrays=dict(arrays or {}), directory=directory)

    @classmethod
    def from_json(
        cls, text: bytes, arrays: Mapping[str, np.ndarray] | None = None, *, directory: str = ""
    ) -> RunRecord:
        """:meth:`from_dict` of what ``results.json`` holds; reports read ten thousand of them.

        Raises:
            RecordError: as :meth:`from_dict`; or it is not JSON.
        """
        return replace(read_text(cls, text), arrays=dict(arrays or {}), directory=directory)
