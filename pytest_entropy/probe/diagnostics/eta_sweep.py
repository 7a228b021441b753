"""The eta sweep: entropy changes for a ladder of steps along u, from the same responses (docs/mathematics.md §7)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.importance_sampling import (
    Totals,
    effective_sample_size,
    entropy_change,
    longest_step,
    moved,
    sequence_totals,
    step_rounding,
    totals_at,
)
from pytest_entropy.probe.diagnostics.self_normalised import clipped, pareto_smoothed, self_normalised_change

log = logging.getLogger(__name__)
PREFIX = "sweep_"
# The ladder's unit is the training step if that moves log-weights by an amount (root mean square, nats) in this range;
# else a power of two of it that moves them by about the target.  Below the range differences drown in rounding, above
# it in the noise of the importance weights.
SMALLEST_MOVE, LARGEST_MOVE, TARGET_MOVE = 2e-3, 0.1, 0.03
# One rescaling is not enough from a step so large that log-weights no longer grow in proportion to it.
MOST_RESCALINGS = 4
# The noise floor's step in units: the even terms fall by its square, far below any rounding that matters.
TINY_STEP = 2.0**-10
# The noise floor is the root mean square over one prompt in so many, and at least so many: what it stands beside, a
# tenth of a standard deviation, is in most cases thousands of times larger.
FLOOR_EVERY, FLOOR_LEAST = 4, 8


@dataclass(frozen=True)
class EtaSweep:
    """Entropy changes of P prompts at J steps, all in nats per response.

    Attributes:
        eta: the training step.
        unit: the step that the ladder's multiples are multiples of.
        steps: ``[J]``, in increasing order, the training step among them.
        change: Delta_n(h) ``[J, P]``, unbiased at each step.
        self_normalised: Delta_n(h) ``[J, P]`` by self-normalised weights; biased by O(1/G).
        ess, group_ess: ``[J]``, effective sample size as a share, of all weights together and averaged over groups.
        khat: ``[J]``, Pareto shape of the weights' tail; NaN where it was not computed.
        rounding: ``[J]``, relative error of the step through the weights' precision.
        floor: ``[Q]``, (Delta(e) + Delta(-e)) / sqrt 2 of Q of the prompts at a step e so small that only rounding is
            left: the numerical noise of one change, from forward passes and from rounded weights.
        fresh_steps: ``[K]``, steps at which fresh responses were drawn; K = 0 if none were.
        fresh: ``[K, P]``, the change from responses drawn anew with the same random numbers.
        fresh_changed: ``[K]``, number of responses that differ from those at theta.
    """

    eta: np.ndarray
    unit: np.ndarray
    steps: np.ndarray
    change: np.ndarray
    self_normalised: np.ndarray
    ess: np.ndarray
    group_ess: np.ndarray
    khat: np.ndarray
    rounding: np.ndarray
    floor: np.ndarray
    fresh_steps: np.ndarray
    fresh: np.ndarray
    fresh_changed: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """The attributes by prefixed name, for a run's ``arrays``."""
        return {PREFIX + name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EtaSweep | None:
        """The inverse of :meth:`arrays`; None where the arrays hold no complete sweep."""
        if any(PREFIX + name not in arrays for name in cls.__dataclass_fields__):
            return None
        return cls(**{name: arrays[PREFIX + name] for name in cls.__dataclass_fields__})


@dataclass
class StepTotals:
    """Totals of the same responses at theta and at steps along u, each computed when it is first asked for, and kept.

    Attributes:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        chunk_tokens, threads: token budget of a piece, and number of pieces computed at once.
        known: totals by step, 0 for theta.
    """

    policy: Policy
    rollouts: Rollouts
    direction: Mapping[str, torch.Tensor]
    chunk_tokens: int
    threads: int = 1
    known: dict[float, Totals] = field(default_factory=dict)

    def __call__(self, step: float) -> Totals:
        """The totals ``[P, G]`` at theta + step * u.

        Raises:
            RunError: log-probabilities there are not finite.
        """
        if step not in self.known:
            self.known[step] = self._computed(step)
        return self.known[step]

    def select(self, indices: list[int]) -> StepTotals:
        """The same of some of the prompts, with nothing known yet."""
        return replace(self, rollouts=self.rollouts.select(indices), known={})

    def _computed(self, step: float) -> Totals:
        pieces: dict[str, int] = {"chunk_tokens": self.chunk_tokens, "threads": self.threads}
        if step == 0:
            return sequence_totals(self.policy, self.rollouts, **pieces)
        totals = totals_at(self.policy, self.rollouts, self.direction, step, **pieces)
        if not (np.isfinite(totals.sequence).all() and np.isfinite(totals.nats).all()):
            raise RunError(
                f"log-probabilities at theta + {step:g} u are not finite: the step leaves the range of the weights' "
                "type; check the learning rate, or give smaller eta_sweep.multiples"
            )
        return totals


def eta_sweep(
    at: StepTotals,
    *,
    eta: float,
    multiples: Sequence[float],
    pareto: bool = False,
    clip: float | None = None,
    sample: Callable[[], Rollouts] | None = None,
) -> EtaSweep:
    """Entropy changes at a ladder of steps: one scoring pass per step, one at theta, few for the noise floor (§7).

    Args:
        at: gives the responses' totals at theta and along u; those that are known are not computed again.
        eta: the training step; always among the steps.
        multiples: the other steps as multiples of the ladder's unit, none of them 0.
        pareto: whether to smooth the weights of the self-normalised change, and report k-hat.
        clip: upper bound on those weights; None for none.
        sample: draws responses to the same prompts with the same random numbers at the policy's present parameters;
            if given, the change at the training step and at the longest one is measured on fresh responses too.

    Raises:
        RunError: log-probabilities at a step are not finite.
        UsageError: ``pareto`` is set, and arviz-stats is not installed.
    """
    policy, direction, before = at.policy, at.direction, at(0.0)
    unit = _unit(before, at, eta, longest_step(policy, direction))
    steps = sorted({eta, *(multiple * unit for multiple in multiples)})
    noise = _noise(at, unit * TINY_STEP)
    points = [_point(before, at(h), pareto=pareto, clip=clip) for h in steps]
    fresh_steps = sorted({eta, max(steps, key=lambda h: (abs(h), h))}) if sample else []
    fresh = [fresh_change(policy, at.rollouts, direction, h, sample) for h in fresh_steps if sample]
    sweep = EtaSweep(
        **{name: np.array(value) for name, value in (("eta", eta), ("unit", unit), ("steps", steps))},
        **{name: np.array([point[name] for point in points]) for name in points[0]},
        rounding=np.array([step_rounding(policy, direction, h) for h in steps]),
        floor=noise,
        fresh_steps=np.array(fresh_steps),
        fresh=np.array([change for change, _ in fresh]),
        fresh_changed=np.array([changed for _, changed in fresh]),
    )
    log.debug("eta sweep: steps %s, ESS %s, noise floor %.2e nats", sweep.steps, sweep.ess, np.std(noise))
    return sweep


def _noise(at: StepTotals, step: float) -> np.ndarray:
    """The numerical noise of one change of Q of the prompts, ``[Q]``, from passes of one shape."""
    prompts = len(at.rollouts)
    Q = min(prompts, max(FLOOR_LEAST, prompts // FLOOR_EVERY))
    some = at if prompts == Q else at.select([n * prompts // Q for n in range(Q)])
    changes = [entropy_change(some(0.0), some(sign * step)) for sign in (1, -1)]
    return np.asarray(sum(changes) / math.sqrt(2))


def _unit(before: Totals, at: StepTotals, eta: float, longest: float) -> float:
    """The ladder's unit: eta, or a power of two of it that moves log-weights by an amount in the usable range."""
    unit = eta
    for _ in range(MOST_RESCALINGS):
        scale = _scale(at(unit).sequence - before.sequence)
        # A collapsed policy hardly moves at any step, so the unit is bounded by the longest one.
        while scale > 1 and scale * unit > longest:
            scale /= 2
        if scale == 1:
            break
        unit *= scale
    return unit


def fresh_change(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    step: float,
    sample: Callable[[], Rollouts],
) -> tuple[np.ndarray, int]:
    """(Delta_n(step) ``[P]``, number of responses that changed) from responses drawn at theta + step * u.

    No importance weight enters, so the estimate is unbiased at any step; the price is noise, since a response either
    stays or is replaced by another.  Where few change, the spread over prompts understates the noise.

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        step: the step h.
        sample: draws responses to the same prompts with the same random numbers at the policy's present parameters.
    """
    with moved(policy, direction, step):
        after = sample()
    nats_before, nats_after = (r.entropies.double().sum(-1).mean(1).cpu().numpy() for r in (rollouts, after))
    pairs = [zip(rollouts.responses(n), after.responses(n), strict=True) for n in range(len(rollouts))]
    return np.asarray(nats_after - nats_before), sum(old != new for pair in pairs for old, new in pair)


def _point(before: Totals, after: Totals, *, pareto: bool, clip: float | None) -> dict[str, np.ndarray | float]:
    logs = after.sequence - before.sequence
    used, khat = pareto_smoothed(logs) if pareto else (logs, math.nan)
    if clip is not None:
        used = clipped(used, clip)
    return {
        "change": entropy_change(before, after),
        "self_normalised": self_normalised_change(before, after, log_weights=used),
        "ess": float(effective_sample_size(logs)),
        "group_ess": float(effective_sample_size(logs, axis=1).mean()),
        "khat": khat,
    }


def _scale(log_weights: np.ndarray) -> float:
    """Factor on the step that brings log-weights into the usable range: 1, or a power of two."""
    move = float(np.sqrt(np.square(log_weights).mean()))
    if move == 0 or SMALLEST_MOVE <= move <= LARGEST_MOVE:
        return 1.0
    return 2.0 ** round(math.log2(TARGET_MOVE / move))
