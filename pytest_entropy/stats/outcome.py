"""A check's outcome, the report it prints, and the exceptions that make a test fail or be skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Literal, ParamSpec, TypedDict

Verdict = Literal["pass", "fail", "inconclusive"]
P = ParamSpec("P")


class OutcomeRecord(TypedDict):
    """A :class:`CheckOutcome` on disk (``check_*.json``), under the keys of schema version 1."""

    name: str
    null: str
    statistic: float | None
    p_value: float | None
    alpha: float
    effect: float | None
    ci: list[float] | None
    unit: str
    n: int
    verdict: Verdict
    smallest_detectable: float | None
    declared_effect: float | None
    samples_needed: int | None
    points_to: str
    p_resolution: float | None
    reason: str


@dataclass(frozen=True)
class CheckOutcome:
    """The verdict of one check on one sample, with the numbers behind it.

    Attributes:
        name: the check's.
        null: the null hypothesis in words.
        statistic: the number whose distribution under the null hypothesis gives the p-value.
        p_value: None of an exact check, which has no error rate.
        alpha: the false-alarm rate that the check was given; 0 of an exact check.
        effect: the estimate, in ``unit``, with confidence interval ``ci``.
        n: the number of independent observations.
        minimum_detectable_effect: the smallest effect, in ``unit``, that n observations detect with the planned power.
        effect_of_interest: the effect, in ``unit``, that the check must be able to detect.
        samples_needed: the n at which it can.
        likely_causes: of a failure, in words.
        p_resolution: the smallest p-value that a permutation test could have given.
        reason: why the sample could not decide, where its size alone does not say it.
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
    minimum_detectable_effect: float | None
    effect_of_interest: float | None
    samples_needed: int | None
    likely_causes: str
    p_resolution: float | None = None
    reason: str = ""

    # Keys on disk that are not the attribute's name.
    KEYS: ClassVar[Mapping[str, str]] = {
        "minimum_detectable_effect": "smallest_detectable",
        "effect_of_interest": "declared_effect",
        "likely_causes": "points_to",
    }
    # Read with these keys by pydantic, where an outcome is part of another record.
    __pydantic_config__: ClassVar[object] = {"alias_generator": lambda name: CheckOutcome.KEYS.get(name, name)}

    def __post_init__(self) -> None:
        # Outcomes travel between processes, which take plain builtins and refuse numpy's.
        for name in _NUMBERS_OR_NONE:
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "n", int(self.n))
        if self.ci is not None:
            object.__setattr__(self, "ci", (float(self.ci[0]), float(self.ci[1])))

    def message(self) -> str:
        """The report in a few lines: the claim, the effect and its interval, the p-value, and the next step."""
        lines = [f"{self.name}: {self.verdict}", f"  expected: {self.null}"]
        if self.effect is not None:
            interval = "" if self.ci is None else f", CI [{self.ci[0]:.4g}, {self.ci[1]:.4g}]"
            lines.append(f"  seen: {self.effect:.4g}{interval} {self.unit}, n = {self.n}")
        if self.p_value is not None:
            floor = self.p_resolution is not None and self.p_value <= self.p_resolution
            note = " (the smallest these shuffles can give)" if floor else ""
            lines.append(f"  p = {self.p_value:.3g}{note} at a false-alarm rate of {self.alpha:.3g}")
        if self.minimum_detectable_effect is not None and self.verdict != "fail":
            lines.append(f"  this sample can see effects from {self.minimum_detectable_effect:.3g} {self.unit}")
        if self.reason and self.verdict != "pass":
            lines.append(f"  because: {self.reason}")
        if self.samples_needed is not None and self.verdict == "inconclusive":
            lines.append(f"  to decide: n = {self.samples_needed}")
        if self.likely_causes and self.verdict != "pass":
            lines.append(f"  points to: {self.likely_causes}")
        return "\n".join(lines)

    def to_dict(self) -> OutcomeRecord:
        """The outcome as plain builtins for JSON."""
        return {
            "name": self.name,
            "null": self.null,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "alpha": self.alpha,
            "effect": self.effect,
            "ci": None if self.ci is None else list(self.ci),
            "unit": self.unit,
            "n": self.n,
            "verdict": self.verdict,
            "smallest_detectable": self.minimum_detectable_effect,
            "declared_effect": self.effect_of_interest,
            "samples_needed": self.samples_needed,
            "points_to": self.likely_causes,
            "p_resolution": self.p_resolution,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> CheckOutcome:
        """Read an outcome back from its JSON form; the inverse of :meth:`to_dict`.

        Raises:
            KeyError: the interval ``ci`` is missing.
            TypeError: another required key is missing, or a key is unknown.
        """
        named = {_ATTRIBUTES.get(key, key): value for key, value in record.items()}
        ci = record["ci"]
        return cls(**{**named, "ci": None if ci is None else (ci[0], ci[1])})


_NUMBERS_OR_NONE = (
    "statistic", "p_value", "effect", "minimum_detectable_effect", "effect_of_interest", "p_resolution",
)  # fmt: skip
_ATTRIBUTES = {key: name for name, key in CheckOutcome.KEYS.items()}


class StatisticalFailure(AssertionError):
    """A null hypothesis was rejected at its error rate."""

    def __init__(self, outcome: CheckOutcome) -> None:
        super().__init__(outcome.message())
        self.outcome = outcome


class Inconclusive(Exception):
    """The sample could not have detected the effect of interest; never a pass."""

    def __init__(self, outcome: CheckOutcome) -> None:
        super().__init__(outcome.message())
        self.outcome = outcome


def require_rates(**rates: float) -> None:
    """Reject error rates, powers and confidences outside (0, 1).

    Raises:
        ValueError: a rate lies outside (0, 1); the message names it.
    """
    for name, value in rates.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, it must lie between 0 and 1")


def verdict_of(p_value: float, alpha: float, *, blind: bool) -> Verdict:
    """The verdict of a test: fail below ``alpha``, else inconclusive where the sample was ``blind``, else pass.

    >>> verdict_of(0.2, 0.05, blind=False), verdict_of(0.2, 0.05, blind=True), verdict_of(0.01, 0.05, blind=True)
    ('pass', 'inconclusive', 'fail')

    Args:
        p_value: of the null hypothesis.
        alpha: false-alarm rate.
        blind: whether the sample could not have detected the effect of interest.
    """
    return "fail" if p_value < alpha else "inconclusive" if blind else "pass"


def detectable_in_errors(alpha: float, power: float) -> float:
    """The smallest effect, in standard errors, that a two-sided test of a normal estimate detects.

    Args:
        alpha: its false-alarm rate.
        power: the chance that it detects the effect.
    """
    import scipy.special  # not needed where outcomes are only read

    return float(scipy.special.ndtri(power) - scipy.special.ndtri(alpha / 2))


def is_blind(minimum_detectable_effect: float, effect_of_interest: float | None) -> bool:
    """Whether a sample cannot detect the effect of interest; False where no such effect is declared.

    Args:
        minimum_detectable_effect: the smallest effect that the sample detects.
        effect_of_interest: in the same unit, of either sign; None where none is declared.
    """
    return effect_of_interest is not None and minimum_detectable_effect > abs(effect_of_interest)


def require(outcome: CheckOutcome) -> CheckOutcome:
    """Return the outcome if it is a pass; raise otherwise.

    Raises:
        StatisticalFailure: the verdict is fail.
        Inconclusive: the verdict is inconclusive.
    """
    __tracebackhide__ = True
    if outcome.verdict == "fail":
        raise StatisticalFailure(outcome)
    if outcome.verdict == "inconclusive":
        raise Inconclusive(outcome)
    return outcome


def asserting(check: Callable[P, CheckOutcome]) -> Callable[P, CheckOutcome]:
    """The assert form of a ``check_``: a function of the same arguments that raises unless the outcome is a pass."""

    @wraps(check)
    def assert_form(*args: P.args, **kwargs: P.kwargs) -> CheckOutcome:
        __tracebackhide__ = True
        return require(check(*args, **kwargs))

    name = check.__name__
    assert_form.__name__ = assert_form.__qualname__ = name.replace("check_", "assert_", 1)
    assert_form.__doc__ = f"""Run :func:`{name}` and raise unless the outcome is a pass.

    Args: those of :func:`{name}`.

    Raises:
        StatisticalFailure: the outcome is a fail.
        Inconclusive: the sample cannot decide.
    """
    return assert_form
