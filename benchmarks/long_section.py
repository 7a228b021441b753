"""The second workload against its predecessor and its floor: seconds, variances and the cost of precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import core, floor, long_answers, predecessor
from benchmarks.measure import interleaved, ratios, summary, variance_ratio, variance_with_interval
from benchmarks.workload import SEEDS, G, Workload

B_E = 32


def pool(prompts: int, seed: int) -> dict[str, np.ndarray]:
    """s_n of many prompts along the update of a seed, by estimator, and of whole runs.

    Args:
        prompts: how many.
        seed: of the update.
    """
    workload = Workload.long(seed=seed, diagnostics=core.OTHERS)
    parts: dict[str, list[Sequence[float]]] = {name: [] for name in (*core.POOLED, core.OURS)}
    for i in range(prompts // B_E):
        record = workload.run(B_E, 10_000 + i)
        own = dict(record.diagnostics)
        assert record.entropy_term is not None
        own[core.ESTIMATOR] = record.entropy_term
        for name in core.POOLED:
            parts[name].append(own[name])
        parts[core.OURS].append(record.per_prompt)
    return {name: np.concatenate(part) for name, part in parts.items()}


def long_section(prompts: int, repeats: int) -> dict[str, object]:
    """The section's part of the record.

    Args:
        prompts: of each pool.
        repeats: rounds of timing.
    """
    pools = {seed: pool(prompts, seed) for seed in SEEDS}
    workload = Workload.long(seed=SEEDS[0])
    policy, u = workload.probe.policy, workload.update.direction
    rollouts = [workload.rollouts(B_E, r) for r in range(repeats)]
    limit = long_answers.LIMIT
    tasks: dict[str, Callable[[int], object]] = {
        "generate": lambda r: floor.generate(policy, rollouts[r].prompt_ids, G, limit),
        "forward-backward": lambda r: floor.forward_backward(policy, rollouts[r]),
        core.RUN: lambda r: workload.run(B_E, r),
        "predecessor": lambda r: predecessor.run(long_answers.CHECKPOINT, rollouts[r], u, limit=limit, dtype="float32"),
    }
    tasks[core.RUN](0)
    seconds = interleaved(tasks, repeats)
    faster = ratios(seconds["predecessor"], seconds[core.RUN])
    less = {
        name: {seed: variance_ratio(own[predecessor.ESTIMATOR], own[name]) for seed, own in pools.items()}
        for name in (*core.POOLED[1:], core.OURS)
    }
    by_seed = {seed: summary([t * ratio["value"] for t in faster]) for seed, ratio in less[core.OURS].items()}
    least = np.array(seconds["generate"]) + np.array(seconds["forward-backward"])
    update = workload.update
    return {
        "cost_of_precision_long": core.over_seeds(by_seed),
        "long": {
            "B_E": B_E,
            "reward": update.reward_mean,
            "entropy": update.entropy_mean,
            "length": update.length_mean,
            "seconds": {name: summary(values) for name, values in seconds.items()},
            "run_over_floor": summary(ratios(seconds[core.RUN], least.tolist())),
            "less_seconds": summary(faster),
            "less_variance": less,
            "cost_of_precision_by_seed": by_seed,
            "variance": {
                seed: {name: variance_with_interval(s) for name, s in own.items()} for seed, own in pools.items()
            },
        },
    }
