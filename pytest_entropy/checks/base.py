"""What all checks share: the type, where a missing measurement becomes INCONCLUSIVE, noise floors and named faults."""

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

# Relative to the sum of absolute contributions; float32 passes of different shape agree to 1e-5 of it.
SCALAR_TOLERANCE, SCALAR_ROUNDINGS = 1e-3, 16
# Of a step taken in float64.
ORACLE_TOLERANCE = 1e-6
# The noise floor is measured: so many times the largest gap between a batch and its prompts computed alone, at
# least so many roundings of the weights' type, and at most the cap, so that a fault cannot raise its own floor.
FLOOR_FACTOR, FLOOR_ROUNDINGS, FLOOR_CAP, CAP_ROUNDINGS = 30, 64, 5e-4, 32
ALONE = ("agreement.alone_log_probs", "agreement.alone_entropies")
ROUNDING = "agreement.rounding"
# What :func:`noise_floor` reads.
FLOOR_NEEDS = ("asked", *ALONE, ROUNDING)
SURPRISES = "expected_surprises"
PER_ETA = "nats per unit of eta"
# The sampler that every check of the sampler has to see: this share of the temperature.
TEMPERATURE = 0.7
# By how much the logits are then too large.
TILT = 1 / TEMPERATURE - 1


@dataclass(frozen=True)
class Given:
    """What a check is given besides the runs.

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
        """``alpha``, of a statistical check.

        Raises:
            ValueError: it was not given.
        """
        if self.alpha is None:
            raise ValueError("a statistical check needs its share alpha of the error budget")
        return self.alpha

    @property
    def generator(self) -> np.random.Generator:
        """``rng``, of a check that shuffles.

        Raises:
            ValueError: it was not given.
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
        likely_causes: of a failure.
        needs: the measured fields that it reads (:class:`~pytest_entropy.records.measured.Measured`); reading another
            one is an error, and it is inconclusive where one is missing.
        judge: the outcome of (check, runs, given).
        statistical: whether it has an error rate; else it is exact.
        effect: of a statistical check, by how much its statistic's mean is off under a definite fault, in the unit of
            the check, from the runs themselves; a sample that could not see it is inconclusive.  None (the function, or
            its value) where there is no such effect, as where the derivative is exactly 0.
        applies: why it does not apply to the runs, in words; "" where it does.
    """

    name: str
    claim: str
    likely_causes: str
    needs: tuple[str, ...]
    judge: Callable[[Check, Runs, Given], CheckOutcome]
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
        """The outcome on ``runs``; the keywords are those of :class:`Given`.

        Inconclusive where a field that it needs was not measured, or where it does not apply.

        Raises:
            ValueError: a statistical check without ``alpha``, or without ``rng`` if it shuffles.
            Undeclared: it reads a field that its ``needs`` do not name.
        """
        given = Given(alpha, rng, with_replacement, confidence, tolerance)

        def judged(measured: Runs) -> CheckOutcome:
            reason = "no run to judge" if not runs else self.applies(measured, given) if self.applies else ""
            return undecided(self, len(runs), reason) if reason else self.judge(self, measured, given)

        return self.or_inconclusive(runs, judged, lambda outcome: outcome)

    def inapplicable(self, runs: Sequence[RunRecord], *, with_replacement: bool = False) -> str:
        """Why the check does not apply to ``runs``, in words; "" where it does, or where that was not recorded."""
        given = Given(with_replacement=with_replacement)
        if self.applies is None:
            return ""
        applies = self.applies
        return self.or_inconclusive(runs, lambda measured: applies(measured, given), lambda outcome: "")

    def effect_of_interest(self, runs: Sequence[RunRecord]) -> float | None:
        """The effect that the check has to be able to see in ``runs``; None where there is none.

        Raises:
            Missing: a field that it needs was not measured.
        """
        return None if self.effect is None else self.effect(self._measured(runs))

    def or_inconclusive(
        self, runs: Sequence[RunRecord], compute: Callable[[Runs], T], otherwise: Callable[[CheckOutcome], T]
    ) -> T:
        """The result of ``compute`` on the runs; of ``otherwise`` on the inconclusive outcome where a field is missing.

        The one place where a missing measurement becomes INCONCLUSIVE.
        """
        try:
            return compute(self._measured(runs))
        except Missing as missing:
            reason = f"{missing}: what was not measured cannot pass; compute the run anew (without --resume)"
            return otherwise(undecided(self, len(runs), reason))

    def _measured(self, runs: Sequence[RunRecord]) -> Runs:
        return [Measured(run, self.needs) for run in runs]


def undecided(check: Check, runs: int, reason: str) -> CheckOutcome:
    """The inconclusive outcome of a check that ``runs`` runs cannot decide, with the ``reason`` in words."""
    return CheckOutcome(
        check.name, check.claim, None, None, 0.0, None, None, "runs", runs, "inconclusive", None, None, None, "",
        reason=reason,
    )  # fmt: skip


def exact(check: Check, gaps: Iterable[float], *, noise_floor: float, unit: str) -> CheckOutcome:
    """The outcome of an exact check: no gap, in ``unit``, is larger than the noise floor."""
    return check_within_noise(
        list(gaps),
        noise_floor=noise_floor,
        name=check.name,
        null=check.claim,
        unit=unit,
        likely_causes=check.likely_causes,
    )


def mean_zero(
    check: Check, runs: Runs, given: Given, values: np.ndarray, *, null: str = "", unit: str = PER_ETA
) -> CheckOutcome:
    """The outcome of a check that values per prompt, in ``unit``, have mean 0.

    Args:
        check: whose ``effect`` the sample has to be able to see.
        runs: what ``values`` are from; they say how many surprises carry the mean.
        given: the check's share of the error budget.
        values: one for each prompt of all runs, ``[N]``.
        null: the null hypothesis, where it says more than the check's claim.

    Raises:
        Missing: what the effect or the surprises are read from was not measured.
    """
    return check_mean_zero(
        values,
        alpha=given.share,
        name=check.name,
        null=null or check.claim,
        unit=unit,
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
    """The per-prompt scalars ``name`` of all runs, one run after the other.

    Raises:
        Missing: a run lacks them.
    """
    return np.concatenate([run.scalars(name) for run in runs])


def rounding(runs: Runs) -> float:
    """Unit roundoff of the coarsest weights.

    Raises:
        Missing: a run did not record it.
    """
    return max(numbers(runs, ROUNDING))


def noise_floor(runs: Runs) -> float:
    """Nats by which two correct computations of one log-probability may differ here."""
    looked = [run for run in runs if run.was_asked("definition")]
    # Runs that were not to measure it are judged by the cap alone.
    if not looked:
        return noise_cap(runs)
    measured = max(FLOOR_FACTOR * max(numbers(looked, *ALONE)), FLOOR_ROUNDINGS * rounding(runs))
    return min(measured, noise_cap(runs))


def noise_cap(runs: Runs) -> float:
    """The largest noise floor that is believed, in nats."""
    return max(FLOOR_CAP, CAP_ROUNDINGS * rounding(runs))


def expected_surprises(runs: Runs) -> float:
    """How many responses of all runs together are expected to leave the likeliest path."""
    return sum(numbers(runs, SURPRISES))


def mean_derivative(runs: Runs) -> float:
    """|mean of <X_n, u>| over all prompts: by how much an estimate is off where a factor of it is doubled or missing,
    in nats per unit of eta."""
    return abs(float(joined(runs, "entropy_term").mean()))
