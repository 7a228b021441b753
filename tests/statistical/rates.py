"""Rates with exact binomial intervals, and the bound at which a simulated level counts as broken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

# Fewer than 1000 rates are judged, each wrongly condemned with probability at most 1e-7: together below 1e-4.
CONDEMN = 1e-7


@dataclass(frozen=True)
class Rate:
    """``count`` of ``trials``."""

    count: int
    trials: int

    @property
    def value(self) -> float:
        return self.count / self.trials

    def interval(self, tail: float = 0.025) -> tuple[float, float]:
        """Clopper and Pearson's interval, missing with probability at most ``tail`` on either side."""
        k, n = self.count, self.trials
        low = float(stats.beta.ppf(tail, k, n - k + 1)) if k else 0.0
        high = float(stats.beta.isf(tail, k + 1, n - k)) if k < n else 1.0
        return low, high

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.value:.2g} [{low:.2g}, {high:.2g}]"


def rate(hits: np.ndarray) -> Rate:
    return Rate(int(np.sum(hits)), len(hits))


def rejections(p_values: np.ndarray, alpha: float) -> Rate:
    return rate(p_values < alpha)


def assert_at_most(seen: Rate, bound: float, what: str) -> None:
    """The interval at 1e-7 must reach down to the bound."""
    low = seen.interval(CONDEMN)[0]
    assert low <= bound, f"{what}: {seen} of {seen.trials} sessions, promised at most {bound:g}"


def assert_at_least(seen: Rate, bound: float, what: str) -> None:
    """The interval at 1e-7 must reach up to the bound."""
    high = seen.interval(CONDEMN)[1]
    assert high >= bound, f"{what}: {seen} of {seen.trials} sessions, promised at least {bound:g}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
