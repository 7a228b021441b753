"""Runs that draw their prompts from one small set share prompts: an exact way to shuffle, and the errors' two meanings.

Each run draws B_E of N prompts without replacement and answers them afresh.  Then two things are exchangeable, whatever
the tails: the answers to one prompt over the runs that drew it, and two prompts that were drawn equally often (the
draws do not know which prompt is which).  Shuffling both leaves every run as many prompts as it had and every prompt
as many runs, so that shuffled runs share prompts just as the real ones do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_entropy.stats.signal import format_error


@dataclass(frozen=True)
class Recurrence:
    """Which scalars of the pooled runs belong to one prompt.

    Attributes:
        places: by how often a prompt was drawn, k: the places ``[prompts, k]`` of their scalars in the pooled row.
        size: the length of the pooled row.
        log_arrangements: natural logarithm of the number of distinct shuffles, runs of one size alike.
    """

    places: tuple[np.ndarray, ...]
    size: int
    log_arrangements: float

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]]) -> Recurrence:
        """The recurrence of R runs' prompts.

        Args:
            prompts: of each run, a number per prompt, equal for equal prompts; run by run as the scalars are pooled.
        """
        numbers = np.concatenate([np.asarray(run, dtype=np.int64) for run in prompts])
        runs = np.repeat(np.arange(len(prompts)), [len(run) for run in prompts])
        order = np.argsort(numbers, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        places = tuple(
            np.stack([part for part in parts if len(part) == k]) for k in sorted({len(part) for part in parts})
        )
        alike = Counter(len(run) for run in prompts).values()
        log = sum(_log_arrangements(runs[rows]) for rows in places) - sum(math.lgamma(n + 1) for n in alike)
        return cls(places, len(numbers), max(log, 0.0))

    @property
    def recurs(self) -> bool:
        """Whether any prompt was drawn more than once."""
        return any(rows.shape[1] > 1 for rows in self.places)

    def shuffled(self, pooled: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Shuffles ``[count, n]`` of the pooled scalars.

        Args:
            pooled: the scalars ``[n]`` of all runs, one run after the other.
            count: the number of shuffles.
            rng: source of the shuffles.
        """
        out = np.empty((count, self.size))
        for rows in self.places:
            m, k = rows.shape
            values = pooled[rows]
            if m > 1:
                values = values[rng.permuted(np.broadcast_to(np.arange(m), (count, m)), axis=1)]
            else:
                values = np.broadcast_to(values, (count, m, k))
            out[:, rows] = rng.permuted(values, axis=2) if k > 1 else values
        return out

    def variance_within(self, pooled: np.ndarray) -> tuple[float, int]:
        """(variance of the answers to one prompt, degrees of freedom it is known with), by analysis of variance.

        Args:
            pooled: the scalars ``[n]`` of all runs, one run after the other.
        """
        squares = math.fsum(
            float(np.square(pooled[rows] - pooled[rows].mean(axis=1, keepdims=True)).sum()) for rows in self.places
        )
        freedom = sum(rows.shape[0] * (rows.shape[1] - 1) for rows in self.places)
        return (squares / freedom if freedom else math.nan), freedom


def _log_arrangements(runs: np.ndarray) -> float:
    """Logarithm of the distinct shuffles of prompts that were each drawn by the runs ``[prompts, k]``."""
    prompts, k = runs.shape
    same = Counter(map(tuple, np.sort(runs, axis=1).tolist())).values()
    alike = math.fsum(math.lgamma(n + 1) for n in same)
    return math.lgamma(int(prompts) + 1) - alike + int(prompts) * math.lgamma(int(k) + 1)


@dataclass(frozen=True)
class PromptErrors:
    """The standard error of a run's delta_h1 in its two meanings, in the unit of delta_h1.

    Attributes:
        like_these: for prompts like these: it holds the variance between prompts, as if the set were endless.
        these_low, these_high: for the N prompts of the set: an estimate twice where prompts recur over the runs, else
            the range that it lies in, from sqrt(1 - f) times ``like_these`` up to it.
        sampling_fraction: f = B_E / N.
        prompts: N, rounded.
        share_within: share of the variance that is between answers to one prompt, where it was estimated.
    """

    like_these: float
    these_low: float
    these_high: float
    sampling_fraction: float
    prompts: int
    share_within: float | None = None

    @property
    def is_estimated(self) -> bool:
        """Whether the error for these prompts is an estimate, and no range."""
        return self.share_within is not None

    def in_words(self) -> str:
        """Both meanings in words; empty where f is below 5 %, and they differ by less than 3 %.

        >>> PromptErrors(0.02, 0.01, 0.02, 0.75, 40).in_words()
        'the ± is for prompts like these; for these 40 prompts themselves it is between 0.010 and 0.020'
        """
        if self.sampling_fraction < SMALLEST_FRACTION:
            return ""
        low, high = format_error(self.these_low), format_error(self.these_high)
        these = f"about {low}" if self.is_estimated else f"between {low} and {high}"
        return f"the ± is for prompts like these; for these {self.prompts} prompts themselves it is {these}"


SMALLEST_FRACTION = 0.05
# Fewer degrees of freedom leave the variance between answers to one prompt unknown by more than a fifth.
FEWEST_FREEDOM = 50


def prompt_errors(
    se: float,
    B_E: int,
    sampling_fraction: float,
    scalars: Sequence[np.ndarray] = (),
    prompts: Sequence[Sequence[int]] = (),
) -> PromptErrors | None:
    """The two meanings of a run's standard error; None where prompts were drawn with replacement.

    SE^2 (these) = sigma_w^2 / B_E + (1 - f) sigma_b^2 / B_E, with sigma_w^2 the variance of answers to one prompt,
    pooled over prompts that several runs drew, and sigma_b^2 the rest of the variance.

    Args:
        se: the run's standard error, or the root mean square of several runs' of this B_E.
        B_E: prompts of a run, or its companions where they are more.
        sampling_fraction: f = B_E / N, in [0, 1].
        scalars: s_n ``[B_E]`` of each run; none leaves a range.
        prompts: a number per prompt of each run; none leaves a range.
    """
    if sampling_fraction <= 0:
        return None
    low, high, share = se * math.sqrt(1 - sampling_fraction), se, None
    if len(scalars) > 1 and len(scalars) == len(prompts):
        recurrence = Recurrence.of(prompts)
        within, freedom = recurrence.variance_within(np.concatenate(scalars))
        whole = float(np.mean([np.var(s, ddof=1) for s in scalars]))
        if freedom >= FEWEST_FREEDOM and whole > 0:
            share = min(1.0, within / whole)
            low = high = se * math.sqrt(1 - sampling_fraction * (1 - share))
    return PromptErrors(se, low, high, sampling_fraction, round(B_E / sampling_fraction), share)
