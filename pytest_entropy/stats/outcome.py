"""The outcome of a check: a small report, and the exceptions a test turns it into."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found.

    ``null`` is the hypothesis in words; ``p_value`` None marks a deterministic check; ``alpha`` the false-alarm
    rate it was given; ``effect`` the estimate in ``unit`` with confidence interval ``ci``; ``n`` independent
    observations; ``smallest_detectable`` the effect that n can see with the planned power;
    ``declared_effect`` the one it should see and ``samples_needed`` the n for that; ``points_to`` likely causes;
    ``p_resolution`` the smallest p-value a permutation test could have given; ``reason`` why the sample could not
    decide, where its size alone does not say it.
    """

    name: str
    null: str
    statistic: float | None
    p_value: float | None
    alpha: float
    effect: float | None
    ci: tuple[float, float] | None
    unit: str
    n: int
    verdict: Verdict
    smallest_detectable: float | None
    declared_effect: float | None
    samples_needed: int | None
    points_to: str
    p_resolution: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        # Outcomes travel between processes, which take plain builtins and refuse numpy's.
        for name in ("statistic", "p_value", "effect", "smallest_detectable", "declared_effect", "p_resolution"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "n", int(self.n))
        if self.ci is not None:
            object.__setattr__(self, "ci", (float(self.ci[0]), float(self.ci[1])))

    def message(self) -> str:
        """Expected, seen, how big the gap, how many, what to do next."""
        lines = [f"{self.name}: {self.verdict}", f"  expected: {self.null}"]
        if self.effect is not None:
            interval = "" if self.ci is None else f", CI [{self.ci[0]:.4g}, {self.ci[1]:.4g}]"
            lines.append(f"  seen: {self.effect:.4g}{interval} {self.unit}, n = {self.n}")
        if self.p_value is not None:
            floor = self.p_resolution is not None and self.p_value <= self.p_resolution
            note = " (the smallest these shuffles can give)" if floor else ""
            lines.append(f"  p = {self.p_value:.3g}{note} at a false-alarm rate of {self.alpha:.3g}")
        if self.smallest_detectable is not None and self.verdict != "fail":
            lines.append(f"  this sample can see effects from {self.smallest_detectable:.3g} {self.unit}")
        if self.reason and self.verdict != "pass":
            lines.append(f"  because: {self.reason}")
        if self.samples_needed is not None and self.verdict == "inconclusive":
            lines.append(f"  to decide: n = {self.samples_needed}")
        if self.points_to and self.verdict != "pass":
            lines.append(f"  points to: {self.points_to}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain builtins for JSON."""
        record = asdict(self)
        record["ci"] = None if self.ci is None else list(self.ci)
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> CheckOutcome:
        """The inverse of :meth:`to_dict`."""
        ci = record["ci"]
        return cls(**{**record, "ci": None if ci is None else (ci[0], ci[1])})


class StatisticalFailure(AssertionError):
    """A null hypothesis was rejected at its error rate."""

    def __init__(self, outcome: CheckOutcome) -> None:
        super().__init__(outcome.message())
        self.outcome = outcome


class Inconclusive(Exception):
    """The sample could not have decided; never a pass."""

    def __init__(self, outcome: CheckOutcome) -> None:
        super().__init__(outcome.message())
        self.outcome = outcome


def require_rates(**rates: float) -> None:
    """Refuse error rates, powers and confidences outside (0, 1).

    Raises:
        ValueError: naming the one that is.
    """
    for name, value in rates.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, it must lie between 0 and 1")


def require(outcome: CheckOutcome) -> CheckOutcome:
    """The outcome if it passed.

    Raises:
        StatisticalFailure: it failed.
        Inconclusive: it could not decide.
    """
    __tracebackhide__ = True
    if outcome.verdict == "fail":
        raise StatisticalFailure(outcome)
    if outcome.verdict == "inconclusive":
        raise Inconclusive(outcome)
    return outcome
