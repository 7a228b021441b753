"""delta_h1 with both its errors: for its update batch, and over update batches (docs/mathematics.md §4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pytest_entropy.stats.guarded_t import interval
from pytest_entropy.stats.intervals import mean_interval, skewed_interval, too_few
from pytest_entropy.stats.signal import format_error, format_measure

FOR_THIS_UPDATE = "for this update batch"
FOR_THESE_UPDATES = "for these update batches"
OVER_UPDATES = "over update batches"
NEXT_STEP = "over the next step's update batch"
# A single batch draws its own update each time, so that its error leaves out no source of randomness.
OVER_BATCHES = "over batches"
NOT_DETERMINED = "not determined"
# Below so many degrees of freedom an estimated variance says nothing, and its quantile would be all there is.
FEWEST_FREEDOM = 4.0
# Runs that did not record the fraction are taken to have drawn from a set so large that they hardly share a prompt.
FRACTION_NOT_KNOWN = 0.0


class MeasuredRun(Protocol):
    """The fields that a :class:`Measurement` is made from: those of a run's record, or of its test item's report.

    Attributes:
        B_E: prompts of the entropy batch.
        delta_h1, se_conditional: the value and its error given the update batch, in one unit.
        variance_total: the variance over update batches in that unit squared; None where it was not computed.
        se_total: the standard error over update batches.
        sampling_fraction: share of the set of prompts that the entropy batch drew; None where it was not recorded.
        mode: ``two_batch`` or ``u_statistic``.
        notes: remarks that a reader of the numbers needs.
        update_fingerprint: a number that identifies the update; None where it is not known.
    """

    @property
    def B_E(self) -> int | None: ...
    @property
    def delta_h1(self) -> float | None: ...
    @property
    def se_conditional(self) -> float | None: ...
    @property
    def variance_total(self) -> float | None: ...
    @property
    def se_total(self) -> float | None: ...
    @property
    def sampling_fraction(self) -> float | None: ...
    @property
    def mode(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def update_fingerprint(self) -> float | None: ...


@dataclass(frozen=True)
class Measurement:
    """delta_h1 of one run, or the mean of several along one update, in the unit of ``value``.

    Attributes:
        value: delta_h1.
        se: standard error given the update batch (of a ``single_batch``: over batches); None where it is unknown.
        prompts: independent prompts of the entropy batches.
        update_part: V_Y - T, the part that the randomness of the update batch adds to the variance; None where it was
            not computed.  The estimate is unbiased and may be negative.
        largest_part: the larger of V_X and V_Y, of one run; None of several, and where it was not recorded.
        update: a number that identifies the update batch; None where it is not known.
        updates: number of update batches that a mean of runs is over.
        update_error: standard error of ``update_part``; None where it is not known.
        update_skew: skewness of the update batch's per-prompt scalars; None where it is not known.
        single_batch: each run draws one batch for its update and its entropy gradient.
        note: why there is no error over update batches although it was asked for, else empty.
        skew: skewness of the per-prompt scalars, 0 where it is not known.
        update_prompts: B_U, None where it is not known.
        sampling_fraction: share of one set of prompts that the entropy batch drew; 0 where it is not known, and with
            replacement.
    """

    value: float
    se: float | None
    prompts: int
    update_part: float | None = None
    single_batch: bool = False
    note: str = ""
    skew: float = 0.0
    update_prompts: int | None = None
    sampling_fraction: float = 0.0
    largest_part: float | None = None
    update: float | None = None
    updates: int = 1
    update_error: float | None = None
    update_skew: float | None = None

    @classmethod
    def of(cls, run: MeasuredRun) -> Measurement:
        """The measurement of one run.

        Raises:
            ValueError: the run has no delta_h1.
        """
        if run.delta_h1 is None or run.B_E is None:
            raise ValueError("a measurement needs delta_h1 and B_E, and the run has not recorded both")
        se, total, fraction = run.se_conditional, run.variance_total, run.sampling_fraction
        single_batch = run.mode == "u_statistic"
        return cls(
            value=run.delta_h1,
            se=se,
            prompts=run.B_E,
            update_part=None if single_batch or total is None or se is None else total - se**2,
            single_batch=single_batch,
            note="" if single_batch else "; ".join(note for note in run.notes if "total variance" in note),
            sampling_fraction=FRACTION_NOT_KNOWN if fraction is None else fraction,
            # It is recorded where it exceeds the unbiased estimate, and no part of it elsewhere.
            largest_part=None if single_batch or run.se_total is None else run.se_total**2,
            update=run.update_fingerprint,
        )

    def with_skew_of(self, scalars: Sequence[float]) -> Measurement:
        """The same with the skewness of its scalars, which its interval depends on.

        Args:
            scalars: ``[B_E]``, per prompt.
        """
        s = np.asarray(scalars, dtype=float)
        spread = s.std()
        return replace(self, skew=float((((s - s.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0)

    @property
    def variance_total(self) -> float | None:
        """The estimate of the variance over update batches; None where it was not computed, and it may be negative."""
        if self.se is None or self.single_batch:
            return None if self.se is None else self.se**2
        return None if self.update_part is None else self.se**2 + self.update_part / self.updates

    @property
    def se_total(self) -> float | None:
        """The standard error over update batches; None where its variance was not computed.

        E[V_X] and E[V_Y] are at most the variance, so that an unbiased estimate below them is replaced by the larger.
        """
        if self.variance_total is None or self.se is None:
            return None
        parts = [self.se**2] if self.largest_part is None else [self.se**2, self.largest_part]
        return math.sqrt(max(self.variance_total, *parts))

    @property
    def se_next_step(self) -> float | None:
        """The standard error of delta_h1 as a prediction of the next step's; None where ``se_total`` is not known.

        The next step's update batch is another one, so that the spread over update batches counts once more.
        """
        if self.se_total is None or self.update_part is None or self.single_batch:
            return None
        return math.sqrt(self.se_total**2 + max(self.update_part, 0.0))

    @property
    def scope(self) -> str:
        """Which batches ``se`` is an error over, in words."""
        if self.single_batch:
            return OVER_BATCHES
        return FOR_THIS_UPDATE if self.updates == 1 else FOR_THESE_UPDATES

    @property
    def second_error(self) -> str:
        """The error over update batches in words: ``± 0.0046``, ``not determined``, or empty where not asked for."""
        if self.single_batch:
            return ""
        if self.se_total is not None:
            return f"± {format_error(self.se_total)}"
        return NOT_DETERMINED if self.note else ""

    def in_words(self, *, note: bool = True) -> str:
        """Value and both errors; with ``note``, also why the second error is missing although it was asked for.

        >>> Measurement(-0.02527, 0.00097, 64, update_part=2.0e-5).in_words()
        '-0.02527 ± 0.00097 for this update batch, ± 0.0046 over update batches'
        >>> Measurement(-0.02527, 0.00097, 64).in_words()
        '-0.02527 ± 0.00097 for this update batch'
        """
        words = f"{format_measure(self.value, self.se)} {self.scope}"
        if self.se_total is not None and self.second_error:
            return f"{words}, {self.second_error} {OVER_UPDATES}"
        if self.second_error:
            return f"{words}, {OVER_UPDATES} {NOT_DETERMINED}{f' ({self.note})' if note else ''}"
        return words

    def ci(self, confidence: float) -> tuple[float, float] | None:
        """Interval at ``confidence`` given the update batch; None without a standard error or with too few prompts.

        Of a single batch it is a check's bound: products of two gradients have heavier tails than the cubic takes out.
        """
        if self.se is None or too_few(self.prompts):
            return None
        of_mean = interval if self.single_batch else mean_interval
        return of_mean(self.value, self.se, self.skew, self.prompts, confidence=confidence)

    def ci_total(self, confidence: float) -> tuple[float, float] | None:
        """Interval at ``confidence`` over update batches; None where that error is not known or has too few prompts.

        Its degrees of freedom are those of the smaller batch, or fewer where the update batch's part is less certain
        (docs/mathematics.md §4).
        """
        return self._over_updates(self.se_total, confidence, counted=1)

    def ci_next_step(self, confidence: float) -> tuple[float, float] | None:
        """Interval that holds the next step's delta_h1 at ``confidence``; None as for :meth:`ci_total`."""
        return self._over_updates(self.se_next_step, confidence, counted=1 + self.updates)

    def _over_updates(self, se: float | None, confidence: float, *, counted: int) -> tuple[float, float] | None:
        """The interval with error ``se``, in whose square the update part of this mean is ``counted`` times.

        The third cumulants of the two batches' means add up.  That of the next step's batch takes the update batch's
        out of the difference; with the estimated variance the difference is correlated all the same.
        """
        if se is None or self.se is None:
            return None
        if not se:
            return self.value, self.value
        part = 0.0 if self.update_part is None else max(self.update_part, 0.0) / self.updates
        n, m = self.prompts, self.updates * self.update_prompts if self.update_prompts else self.prompts
        of_entropy = self.skew * self.se**3 / math.sqrt(n)
        of_update = 0.0 if self.update_skew is None else self.update_skew * part**1.5 / math.sqrt(m)
        own = (of_entropy + (of_update if counted == 1 else 0.0)) / se**3
        shared = (of_entropy + counted * of_update) / se**3
        uncertain = 2 * self.se**4 / max(n - 1, 1)
        if self.update_error is not None:
            uncertain += (counted * self.update_error / self.updates) ** 2
        freedom = max(FEWEST_FREEDOM, min(self.smaller_batch - 1, 2 * se**4 / uncertain))
        return skewed_interval(self.value, se, freedom, self.smaller_batch, own, shared, confidence=confidence)

    @property
    def smaller_batch(self) -> int:
        """Prompts of the smaller side, the entropy batches or the update batches."""
        return min(self.prompts, self.updates * self.update_prompts if self.update_prompts else self.prompts)
