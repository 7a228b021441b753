"""The eta sweep: entropy changes for a ladder of steps along u, from the same responses (docs/mathematics.md §7)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
# The ladder's unit is the training step where log-weights then move by an amount (root mean square, nats) in this
# range; else a power of two of it that moves them by about the target.  Below, differences drown in rounding; above,
# the importance weights do.
SMALLEST_MOVE, LARGEST_MOVE, TARGET_MOVE = 2e-3, 0.1, 0.03
# From a step so large that log-weights no longer grow in proportion it takes more than one.
MOST_RESCALINGS = 4
# The noise floor's step in units: what is even in it falls by its square, far below any rounding that matters.
TINY_STEP = 2.0**-10


@dataclass(frozen=True)
class EtaSweep:
    """Entropy changes of P prompts at J steps, all in nats per response.

    Attributes:
        eta: the training step.
        unit: the step the ladder's multiples count.
        steps: ``[J]``, in increasing order, the training step among them.
        change: ``[J, P]``, unbiased at each step.
        self_normalised: ``[J, P]``, by self-normalised weights; biased by O(1/G).
        ess, group_ess: ``[J]``, effective sample size as a share, of all weights together and averaged over groups.
        khat: ``[J]``, shape of the weights' tail; NaN where it was not asked for.
        rounding: ``[J]``, relative error of the step as the weights' precision lets it be taken.
        floor: ``[P]``, (Delta(e) + Delta(-e)) / sqrt 2 at a step e so small that only rounding is left: one change's
            numerical noise, of forward passes and of the weights alike.
        fresh_steps, fresh: ``[K]``, ``[K, P]``: the change between responses drawn anew with the same random
            numbers; K = 0 where it was not asked for.
        fresh_changed: ``[K]``, how many responses then are others than before.
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
        """By name, for a run's ``arrays``."""
        return {PREFIX + name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EtaSweep | None:
        """The inverse of :meth:`arrays`; None where there was no sweep, or not all of one."""
        if any(PREFIX + name not in arrays for name in cls.__dataclass_fields__):
            return None
        return cls(**{name: arrays[PREFIX + name] for name in cls.__dataclass_fields__})


def eta_sweep(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    *,
    eta: float,
    multiples: Sequence[float],
    chunk_tokens: int,
    threads: int = 1,
    pareto: bool = False,
    clip: float | None = None,
    sample: Callable[[], Rollouts] | None = None,
) -> EtaSweep:
    """One scoring pass per step, one at theta and two for the noise floor.

    Args:
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        eta: the training step; always among the steps.
        multiples: of the ladder's unit, none of them 0; both signs cancel odd terms.
        pareto: smooth the weights of the self-normalised change, and report k-hat.
        clip: bound on those weights.
        sample: draws responses to the same prompts with the same random numbers at the policy's present
            parameters; with it the training step and the largest one are measured on fresh responses too.

    Raises:
        RunError: log-probabilities at a step are not finite.
        UsageError: ``pareto`` without arviz-stats.
    """

    at = _Totals(policy, rollouts, direction, chunk_tokens, threads)
    before = at.start()
    unit = _unit(before, at, eta, longest_step(policy, direction))
    noise = sum(entropy_change(before, at(sign * unit * TINY_STEP, keep=False)) for sign in (1, -1)) / math.sqrt(2)
    steps = sorted({eta, *(multiple * unit for multiple in multiples)})
    points = [_point(before, at(h, keep=False), pareto=pareto, clip=clip) for h in steps]
    fresh_steps = sorted({eta, max(steps, key=lambda h: (abs(h), h))}) if sample else []
    fresh = [fresh_change(policy, rollouts, direction, h, sample) for h in fresh_steps if sample]
    sweep = EtaSweep(
        **{name: np.array(value) for name, value in (("eta", eta), ("unit", unit), ("steps", steps))},
        **{name: np.array([point[name] for point in points]) for name in points[0]},
        rounding=np.array([step_rounding(policy, direction, h) for h in steps]),
        floor=np.asarray(noise),
        fresh_steps=np.array(fresh_steps),
        fresh=np.array([change for change, _ in fresh]),
        fresh_changed=np.array([changed for _, changed in fresh]),
    )
    log.debug("eta sweep: steps %s, ESS %s, noise floor %.2e nats", sweep.steps, sweep.ess, np.std(noise))
    return sweep


@dataclass
class _Totals:
    """Totals of the same responses at steps along u; those of the ladder's candidates are kept."""

    policy: Policy
    rollouts: Rollouts
    direction: Mapping[str, torch.Tensor]
    chunk_tokens: int
    threads: int
    known: dict[float, Totals] = field(default_factory=dict)

    def start(self) -> Totals:
        """Those at theta."""
        return sequence_totals(self.policy, self.rollouts, chunk_tokens=self.chunk_tokens, threads=self.threads)

    def __call__(self, step: float, *, keep: bool = True) -> Totals:
        if step in self.known:
            return self.known[step]
        totals = totals_at(
            self.policy, self.rollouts, self.direction, step, chunk_tokens=self.chunk_tokens, threads=self.threads
        )
        if not (np.isfinite(totals.sequence).all() and np.isfinite(totals.nats).all()):
            raise RunError(
                f"log-probabilities at theta + {step:g} u are not finite: the step leaves the range of the weights' "
                "type; check the learning rate, or give smaller eta_sweep.multiples"
            )
        if keep:
            self.known[step] = totals
        return totals


def _unit(before: Totals, at: _Totals, eta: float, longest: float) -> float:
    """The step the ladder's multiples count: eta, or a power of two of it that moves log-weights usably."""
    unit = eta
    for _ in range(MOST_RESCALINGS):
        scale = _scale(at(unit).sequence - before.sequence)
        # A policy that has collapsed hardly moves at any step.
        while scale > 1 and scale * unit > longest:
            scale /= 2
        if scale == 1:
            break
        unit *= scale
    at(unit)
    return unit


def fresh_change(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    step: float,
    sample: Callable[[], Rollouts],
) -> tuple[np.ndarray, int]:
    """(Delta_n(step) ``[P]``, responses that changed) from responses drawn at theta + step * u.

    ``sample`` draws them with the random numbers of those at theta.  No weight enters, so it holds at any step; the
    price is noise, since a response either stays or is another.  Where few do, the spread over prompts understates it.
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
    """The ladder's unit in training steps: 1, or the power of two that brings the weights into a usable range."""
    move = float(np.sqrt(np.square(log_weights).mean()))
    if move == 0 or SMALLEST_MOVE <= move <= LARGEST_MOVE:
        return 1.0
    return 2.0 ** round(math.log2(TARGET_MOVE / move))
