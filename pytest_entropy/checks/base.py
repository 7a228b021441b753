"""The base of all checks: their type, INCONCLUSIVE for a missing measurement, noise floors and the fault to detect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pytest_entropy.records.measured import Measured, Missing
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome, check_mean_zero, check_within_noise

T = TypeVar("T")
Runs = Sequence[Measured]

# Relative, of an optimizer's step taken in float64.
ORACLE_TOLERANCE = 1e-6
SURPRISES = "expected_surprises"
ETA = "eta"
IN_NATS = "nats per response"
# The wrong sampler that every check of the sampler must detect has this share of the temperature.
TEMPERATURE = 0.7
# The relative excess of its logits.
TILT = 1 / TEMPERATURE - 1


@dataclass(frozen=True)
class Given:
    """The inputs of a check besides the runs.

    Attributes:
        alpha: its share of the session's false-alarm budget; None for exact checks.
        rng: for permutations and bootstraps.
        with_replacement: whether prompts were drawn with replacement, so that E and U may share them.
        confidence, tolerance: ``checks.confidence`` and ``checks.tolerance`` of the configuration.
    """

    alpha: float | None = None
    rng: np.random.Generator | None = None
    with_replacement: bool = False
    confidence: float = 0.95
    tolerance: float = 0.1

    @property
    def share(self) -> float:
        """``alpha`` of a statistical check.

        Raises:
            ValueError: no alpha was given.
        """
        if self.alpha is None:
            raise ValueError("a statistical check needs its share alpha of the error budget")
        return self.alpha

    @property
    def generator(self) -> np.random.Generator:
        """``rng`` of a check that shuffles.

        Raises:
            ValueError: no rng was given.
        """
        if self.rng is None:
            raise ValueError("a check that shuffles needs a random generator rng")
        return self.rng


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check of the runs of one experiment.

    Attributes:
        name: the name of its file, or of its entry point.
        claim: the null hypothesis in words.
        likely_causes: of a failure, in words.
        needs: the measured fields that it reads (:class:`~pytest_entropy.records.measured.Measured`); reading another
            one is an error, and the check is inconclusive where one is missing.
        judge: maps (check, runs, given) to the outcome.
        asks: the diagnostics that it judges.  Runs that were not asked for all of them, as most are at
            ``checks.depth: light``, are left out; then ``needs`` name ``asked`` as well.
        statistical: whether it has an error rate; else it is exact.
        effect: of a statistical check, the distance of its statistic's mean from the null hypothesis under a definite
            fault, in the unit of the check, computed from the runs; a sample that could not detect it is inconclusive.
            None (the function, or its value) where there is no such effect, as where the derivative is exactly 0.
        applies: maps (runs, given) to the reason, in words, why the check does not apply; "" where it does.
    """

    name: str
    claim: str
    likely_causes: str
    needs: tuple[str, ...]
    judge: Callable[[Check, Runs, Given], CheckOutcome]
    asks: tuple[str, ...] = ()
    statistical: bool = False
    effect: Callable[[Runs], float | None] | None = None
    applies: Callable[[Runs, Given], str] | None = None

    def check(
        self,
        runs: Sequence[RunRecord],
        *,
        alpha: float | None = None,
        rng: np.random.Generator | None = None,
        with_replacement: bool = False,
        confidence: float = 0.95,
        tolerance: float = 0.1,
    ) -> CheckOutcome:
        """The outcome on ``runs``; inconclusive where a needed field was not measured or the check does not apply.

        Args:
            runs: records of one experiment's runs.
            alpha, rng, with_replacement, confidence, tolerance: as in :class:`Given`.

        Raises:
            ValueError: a statistical check without ``alpha``, or without ``rng`` if it shuffles.
            Undeclared: it reads a field that its ``needs`` do not name.
        """
        given = Given(alpha, rng, with_replacement, confidence, tolerance)

        def judged(measured: Runs) -> CheckOutcome:
            reason = self._why_none(runs, measured) or (self.applies(measured, given) if self.applies else "")
            return undecided(self, len(runs), reason) if reason else self.judge(self, measured, given)

        return self.or_inconclusive(runs, judged, lambda outcome: outcome)

    def _why_none(self, runs: Sequence[RunRecord], measured: Runs) -> str:
        """Why there is no run to judge, in words; "" where there is one."""
        if measured:
            return ""
        none = f"none of {len(runs)} runs was asked for the diagnostic {' and '.join(self.asks)}"
        return f"{none} (diagnostics: true asks, at checks.depth full in every run)" if runs else "no run to judge"

    def inapplicable(self, runs: Sequence[RunRecord], *, with_replacement: bool = False) -> str:
        """Why the check does not apply to ``runs``, in words; "" where it does, or where that is not recorded.

        Args:
            runs: records of one experiment's runs.
            with_replacement: as in :class:`Given`.
        """
        given = Given(with_replacement=with_replacement)
        if self.applies is None:
            return ""
        applies = self.applies
        return self.or_inconclusive(runs, lambda measured: applies(measured, given), lambda outcome: "")

    def effect_of_interest(self, runs: Sequence[RunRecord]) -> float | None:
        """The effect, in the unit of the check, that it must be able to detect in ``runs``; None where there is none.

        Raises:
            Missing: a needed field was not measured.
        """
        return None if self.effect is None else self.effect(self._measured(runs))

    def or_inconclusive(
        self, runs: Sequence[RunRecord], compute: Callable[[Runs], T], otherwise: Callable[[CheckOutcome], T]
    ) -> T:
        """Compute a result from the measured runs, or from the inconclusive outcome where a needed field is missing.

        The one place where a missing measurement becomes INCONCLUSIVE.

        Args:
            runs: records of one experiment's runs.
            compute: maps the measured runs, of those that were asked for what the check ``asks``, to the result.
            otherwise: maps the inconclusive outcome to the result.
        """
        try:
            return compute(self._measured(runs))
        except Missing as missing:
            reason = f"{missing}: what was not measured cannot pass; compute the run anew (without --resume)"
            return otherwise(undecided(self, len(runs), reason))

    def _measured(self, runs: Sequence[RunRecord]) -> Runs:
        measured = [Measured(run, self.needs) for run in runs]
        return [run for run in measured if all(run.was_asked(name) for name in self.asks)]


def undecided(check: Check, runs: int, reason: str) -> CheckOutcome:
    """The inconclusive outcome of a check on runs that cannot decide it.

    Args:
        check: the check.
        runs: the number of runs.
        reason: in words.
    """
    return CheckOutcome(
        check.name, check.claim, None, None, 0.0, None, None, "runs", runs, "inconclusive", None, None, None, "",
        reason=reason,
    )  # fmt: skip


def exact(check: Check, gaps: Iterable[float], *, noise_floor: float, unit: str) -> CheckOutcome:
    """The outcome of an exact check: no discrepancy exceeds the noise floor.

    Args:
        check: the check.
        gaps: the discrepancies, in ``unit``.
        noise_floor: the largest discrepancy that rounding explains, in ``unit``.
        unit: in words.
    """
    return check_within_noise(
        list(gaps),
        noise_floor=noise_floor,
        name=check.name,
        null=check.claim,
        unit=unit,
        likely_causes=check.likely_causes,
    )


def mean_zero(check: Check, runs: Runs, given: Given, values: np.ndarray, *, null: str = "") -> CheckOutcome:
    """The outcome of a statistical check that values per prompt have mean 0, by the guarded t.

    Args:
        check: the check; its ``effect`` is the one that the sample must be able to detect.
        runs: the runs that ``values`` are from; they record how many surprises carry the mean.
        given: the check's share of the error budget.
        values: one for each prompt of all runs, ``[N]``, in nats per response per unit of eta; the outcome has them
            times eta, on the scale of delta_h1.
        null: the null hypothesis, where it says more than the check's claim.

    Raises:
        Missing: a field that the effect or the surprises are read from was not measured.
    """
    return check_mean_zero(
        values * runs[0].number(ETA),
        alpha=given.share,
        name=check.name,
        null=null or check.claim,
        unit=IN_NATS,
        likely_causes=check.likely_causes,
        effect_of_interest=None if check.effect is None else check.effect(runs),
        expected_events=expected_surprises(runs),
    )


def numbers(runs: Runs, *names: str) -> list[float]:
    """The measured numbers ``names`` of all runs, name by name.

    Raises:
        Missing: one was not measured.
    """
    return [run.number(name) for name in names for run in runs]


def joined(runs: Runs, name: str) -> np.ndarray:
    """The per-prompt scalars of all runs ``[N]``, one run after the other.

    Args:
        runs: the measured runs.
        name: the measured field.

    Raises:
        Missing: a run lacks the field.
    """
    return np.concatenate([run.scalars(name) for run in runs])


def expected_surprises(runs: Runs) -> float:
    """The expected number of responses of all runs that hold a token other than the likeliest one."""
    return sum(numbers(runs, SURPRISES))


def mean_derivative(runs: Runs) -> float:
    """|eta mean of <X_n, u>| over all prompts, in nats per response: the error of a doubled or missing estimate."""
    return runs[0].number(ETA) * abs(float(joined(runs, "entropy_term").mean()))
