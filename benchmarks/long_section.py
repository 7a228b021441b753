"""The second workload against its predecessor and its floor: seconds, variances and the cost of precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import core, floor, long_answers, predecessor
from benchmarks.measure import interleaved, ratios, summary, variance_ratio, variance_with_interval
from benchmarks.workload import SEEDS, G, Workload

B_E = 32


def long_section(prompts: int, repeats: int) -> dict[str, object]:
    """The section's part of the record.

    Args:
        prompts: of each pool.
        repeats: rounds of timing.
    """
    pools = {
        seed: core.pooled_scalars(prompts, Workload.long(seed=seed, diagnostics=core.OTHERS), size=B_E)
        for seed in SEEDS
    }
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
