"""The probe against other methods and the floor: equal numbers, seconds by part, standard error, cost of precision."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks import floor, methods, predecessor
from benchmarks.measure import interleaved, interleaved_clocks, ratios, summary, variance_ratio, variance_with_interval
from benchmarks.workload import CHUNK_TOKENS, LIMIT, G, Workload, unmerged
from pytest_entropy import ProbeConfig
from pytest_entropy.checkpoints.demo import CHECKPOINT
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives


class Method(Protocol):
    """Another way to the probe's s_n."""

    def __call__(
        self, policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor], estimator: str, /
    ) -> np.ndarray: ...


B_E = 64
# The claim is about the configuration a user gets; its parts stand beside it.
ESTIMATOR = ProbeConfig().estimator
OURS = f"{ESTIMATOR}, {ProbeConfig().reads} companion reads"
# A setting that is offered and not the default: two responses to four times the prompts.
FEW, MORE = 2, 4
FEWER = f"whole run, G_E = {FEW}"
# Computed beside the default on the rollouts of the pools.
OTHERS = ("reinforce_loo", "rao_blackwell")
POOLED = (*OTHERS, ESTIMATOR)
# The run's own parts, by task.
RUN, PLAIN, UNMERGED = "whole run", "whole run, no reads", "whole run, adapter not merged"
OFFERED = {"rao_blackwell": PLAIN, ESTIMATOR: PLAIN, OURS: RUN}
DERIVATIVES: dict[str, Method] = {
    "per-prompt backward": methods.per_prompt_backward,
    "torch.func vmap of grad": methods.vmap_of_grad,
    "forward-mode jvp": methods.forward_mode,
}


def equal_numbers(prompts: int = 8) -> dict[str, float]:
    """Largest difference from the probe's s_n in float64, relative to the largest |s_n|, by method.

    Raises:
        AssertionError: one above 1e-6.
    """
    workload = Workload.demo(dtype="float64")
    policy, u = workload.probe.policy, workload.update.direction
    rollouts = workload.rollouts(prompts, seed=0)
    gaps = {}
    for estimator in ("reinforce_loo", "rao_blackwell"):
        ours = workload.scalars(rollouts, estimator)[estimator]
        found = {name: method(policy, rollouts, u, estimator) for name, method in DERIVATIVES.items()}
        if estimator == predecessor.ESTIMATOR:
            found["predecessor"] = predecessor.run(CHECKPOINT, rollouts, u, limit=LIMIT, dtype="float64").per_prompt
        for name, other in found.items():
            gaps[f"{name}, {estimator}"] = float(np.abs(other - ours).max() / np.abs(ours).max())
    off = {name: gap for name, gap in gaps.items() if not gap < 1e-6}
    assert not off, f"methods disagree on the same rollouts: {off}"
    return gaps


def pooled_scalars(prompts: int, workload: Workload, *, size: int = B_E) -> dict[str, np.ndarray]:
    """s_n of many prompts by estimator and, with companion reads, of whole runs, in runs of ``size`` prompts."""
    parts: dict[str, list[Sequence[float]]] = {name: [] for name in (*POOLED, OURS)}
    for i in range(prompts // size):
        record = workload.run(size, 10_000 + i)
        for name in POOLED:
            parts[name].append(record.diagnostics[name])
        parts[OURS].append(record.per_prompt)
    return {name: np.concatenate(part) for name, part in parts.items()}


@dataclass
class Timings:
    """Seconds by task, repeated, all interleaved."""

    seconds: dict[str, list[float]]
    predecessor_phases: dict[str, list[float]] = field(default_factory=dict)

    def total(self, *names: str) -> list[float]:
        """Round by round sums."""
        return [sum(parts) for parts in zip(*(self.seconds[name] for name in names), strict=True)]


def fewer_responses(prompts: int) -> tuple[Workload, np.ndarray]:
    """The demo with ``FEW`` responses to a prompt in the entropy batch, and s_n of many prompts with the default."""
    few = Workload.demo(G_E=FEW)
    records = [few.run(MORE * B_E, 20_000 + i) for i in range(prompts // (MORE * B_E))]
    return few, np.concatenate([record.per_prompt for record in records])


def timings(workload: Workload, few: Workload, repeats: int) -> tuple[Timings, Timings]:
    """Every method and the floor on the same prompts, B_E of them, round after round: in wall and in CPU seconds.

    CPU seconds of one thread are what other work on the machine disturbs little.
    """
    policy, u = workload.probe.policy, workload.update.direction
    plain = Workload.demo(reads=0)
    rollouts = [workload.rollouts(B_E, r) for r in range(repeats)]
    phases: dict[str, list[float]] = {}
    unshared = Policy(policy.model, policy.tokenizer, policy.trainable, policy.eos_ids, policy.temperature, False)

    def old(r: int) -> None:
        for phase, seconds in predecessor.run(CHECKPOINT, rollouts[r], u, limit=LIMIT, dtype="float32").seconds.items():
            phases.setdefault(phase, []).append(seconds)

    def hooks(estimator: str, r: int, through: Policy = policy) -> None:
        drawn = workload.taught(rollouts[r], estimator)
        directional_derivatives(through, drawn, u, [estimator], chunk_tokens=CHUNK_TOKENS)

    def by(method: Method) -> Callable[[int], object]:
        return lambda r: method(policy, rollouts[r], u, "rao_blackwell")

    tasks = {
        "generate": lambda r: floor.generate(policy, rollouts[r].prompt_ids, G, LIMIT),
        "forward": lambda r: floor.forward(policy, rollouts[r]),
        "forward-backward": lambda r: floor.forward_backward(policy, rollouts[r]),
        "sampling": as_adapter(lambda r: workload.rollouts(B_E, r)),
        "sampling, adapter merged": lambda r: workload.rollouts(B_E, r),
        "hooks, action_value": lambda r: hooks("action_value", r),
        "hooks, rao_blackwell": lambda r: hooks("rao_blackwell", r),
        "hooks, unshared prompts": lambda r: hooks("rao_blackwell", r, unshared),
        RUN: lambda r: workload.run(B_E, r),
        PLAIN: lambda r: plain.run(B_E, r),
        UNMERGED: as_adapter(lambda r: workload.run(B_E, r)),
        FEWER: lambda r: few.run(MORE * B_E, r),
        "predecessor": old,
        **{name: by(method) for name, method in DERIVATIVES.items()},
    }
    # The first run of a process compares the hooks with a plain backward.
    for name in ("generate", RUN, PLAIN, FEWER, "forward-backward"):
        tasks[name](0)
    wall, cpu = interleaved_clocks(tasks, repeats, [time.perf_counter, time.process_time])
    return Timings(wall, phases), Timings(cpu)


def as_adapter(task: Callable[[int], object]) -> Callable[[int], object]:
    """The task with the adapter as it is."""

    def run(r: int) -> object:
        with unmerged():
            return task(r)

    return run


def less_variance(pools: Mapping[int, dict[str, np.ndarray]]) -> dict[str, dict[int, dict[str, float]]]:
    """var(reinforce_loo) / var of what is offered, with its interval, by update seed."""
    return {
        name: {seed: variance_ratio(pool[predecessor.ESTIMATOR], pool[name]) for seed, pool in pools.items()}
        for name in OFFERED
    }


def precision_ratios(
    timed: Timings, less: Mapping[str, Mapping[int, Mapping[str, float]]]
) -> dict[str, dict[int, dict[str, float]]]:
    """seconds x SE^2 of the predecessor over ours at the same B_E: of each offer, by update seed, over the rounds."""
    old = timed.seconds["predecessor"]
    return {
        name: {
            seed: summary([t * ratio["value"] for t in ratios(old, timed.seconds[task])])
            for seed, ratio in less[name].items()
        }
        for name, task in OFFERED.items()
    }


def over_seeds(by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Median, min and max over update seeds of their medians over the rounds."""
    return summary([rounds["median"] for rounds in by_seed.values()])


def worst_seed(by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """The rounds of the update seed with the least median."""
    return dict(min(by_seed.values(), key=lambda rounds: rounds["median"]))


def precision_ratio_of_fewer(timed: Timings, pool: dict[str, np.ndarray], s: np.ndarray) -> dict[str, float]:
    """The same for the default with ``FEW`` responses to ``MORE`` times the prompts, on the first update seed."""
    less = float(MORE * pool[predecessor.ESTIMATOR].var() / s.var())
    return summary([t * less for t in ratios(timed.seconds["predecessor"], timed.seconds[FEWER])])


def cost_of_precision(timed: Timings, pools: Mapping[int, dict[str, np.ndarray]]) -> dict[str, object]:
    """seconds x SE^2 of predecessor and probe at the same B_E, and what each part of the design contributes."""
    less = less_variance(pools)
    by_offer = precision_ratios(timed, less)
    return {
        "default": OURS,
        "cost_of_precision_ratio": over_seeds(by_offer[OURS]),
        "cost_of_precision_worst": worst_seed(by_offer[OURS]),
        "cost_of_precision_by_offer": {name: over_seeds(by_seed) for name, by_seed in by_offer.items()},
        "cost_of_precision_by_seed": by_offer[OURS],
        "less_variance": less,
        "less_seconds": summary(ratios(timed.seconds["predecessor"], timed.seconds[RUN])),
        "attribution": attribution(timed, pools),
    }


def attribution(timed: Timings, pools: Mapping[int, dict[str, np.ndarray]]) -> dict[str, float]:
    """The factor by which each part of the design lowers seconds x SE^2, median over update seeds."""
    phases, seconds = timed.predecessor_phases, {name: np.array(own) for name, own in timed.seconds.items()}
    load, one_pass, sampling = np.array(phases["load"]), np.array(phases["variance_pass"]), seconds["generate"]
    loo = predecessor.ESTIMATOR
    # Every step keeps what the ones before have changed: (seconds by round, whose variance).
    steps = {
        "predecessor": (seconds["predecessor"], loo),
        "no reload": (seconds["predecessor"] - load, loo),
        "one pass": (sampling + one_pass, loo),
        "batched, no weight gradients": (sampling + seconds["hooks, unshared prompts"], loo),
        "prompt computed once per group": (sampling + seconds["hooks, rao_blackwell"], loo),
        "own sampler": (seconds["sampling"] + seconds["hooks, rao_blackwell"], loo),
        "rao_blackwell": (seconds["sampling"] + seconds["hooks, rao_blackwell"], "rao_blackwell"),
        "action_value": (seconds["sampling"] + seconds["hooks, action_value"], ESTIMATOR),
        "companion reads": (seconds[UNMERGED], OURS),
        "adapter merged": (seconds[RUN], OURS),
    }
    costs = {
        name: [float(np.median(own) * pool[whose].var()) for pool in pools.values()]
        for name, (own, whose) in steps.items()
    }
    names = list(costs)
    return {b: float(np.median(ratios(costs[a], costs[b]))) for a, b in zip(names, names[1:], strict=False)}


def standard_errors(pool: dict[str, np.ndarray], eta: float) -> dict[str, dict[str, float]]:
    """Variance of s_n with its bootstrap interval, and the SE of delta_h1 at B_E in nats."""
    out = {}
    for name, s in pool.items():
        variance = variance_with_interval(s)
        out[name] = {"variance": variance, "se": eta * (variance["value"] / B_E) ** 0.5}
    return out


def constancy(
    workload: Workload, pool: dict[str, np.ndarray], repeats: int, sizes: Sequence[int] = (32, 128)
) -> dict[str, dict[str, Any]]:
    """seconds x SE^2 in nats^2 s at two sizes of B_E: constant if time is linear and prompts are independent.

    SE^2 is the spread of the means of disjoint batches of B_E pooled prompts, not var / B_E.
    """
    tasks = {str(size): lambda r, size=size: workload.run(size, 500 + r) for size in sizes}
    seconds, eta, s = interleaved(tasks, repeats), workload.probe.eta, pool[OURS]
    out = {}
    for size in sizes:
        means = s[: len(s) // size * size].reshape(-1, size).mean(1)
        spread = variance_with_interval(means)
        t = float(np.median(seconds[str(size)]))
        out[str(size)] = {
            "seconds": summary(seconds[str(size)]),
            "cost": t * eta**2 * spread["value"],
            "low": t * eta**2 * spread["low"],
            "high": t * eta**2 * spread["high"],
        }
    return out
