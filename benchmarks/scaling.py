"""How cost grows: with B_E, model size, batch size and workers; memory against B_E, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import core, floor
from benchmarks.measure import interleaved, linear_fit, ratios, summary
from benchmarks.workload import (
    LIMIT,
    SIZES,
    G,
    Workload,
    random_direction,
    random_policy,
    random_prompts,
    random_rollouts,
)
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.peak_memory import peak_memory_mb

ROOT = Path(__file__).parents[1]


def against_B_E(workload: Workload, repeats: int, sizes: Sequence[int] = (32, 64, 128, 256, 512)) -> dict[str, object]:
    """Seconds of a run against B_E, with a straight line through the medians."""

    def run(size: int, r: int) -> None:
        workload.run(size, 2000 + r)

    seconds = interleaved({str(size): partial(run, size) for size in sizes}, repeats)
    medians = {name: summary(values) for name, values in seconds.items()}
    return {"seconds": medians, "fit": linear_fit(sizes, [medians[str(size)]["median"] for size in sizes])}


def against_model_size(repeats: int, prompts: int = 16) -> dict[str, dict[str, object]]:
    """A run over the floor on random models of three sizes."""
    out = {}
    for name, (hidden, layers) in SIZES.items():
        policy = random_policy(hidden, layers)
        u, rollouts, ids = random_direction(policy), random_rollouts(policy, prompts), random_prompts(prompts)

        def run(r: int, policy: Policy = policy, u: Mapping[str, torch.Tensor] = u) -> None:
            drawn = random_rollouts(policy, prompts, seed=r)
            directional_derivatives(policy, drawn, u, ["rao_blackwell"], chunk_tokens=4096)

        def least(r: int, policy: Policy = policy, ids: list[list[int]] = ids, rollouts: Rollouts = rollouts) -> None:
            floor.generate(policy, ids, G, LIMIT)
            floor.forward_backward(policy, rollouts)

        seconds = interleaved({"run": run, "floor": least}, repeats)
        out[name] = {
            "parameters": sum(p.numel() for p in policy.model.parameters()),
            "seconds": summary(seconds["run"]),
            "over_floor": summary(ratios(seconds["run"], seconds["floor"])),
        }
    return out


def against_batch_size(
    repeats: int, sizes: Sequence[int] = (512, 2048, 4096, 16384), B_E: int = 64
) -> dict[str, dict[str, float]]:
    """Seconds of the derivatives against ``chunk_tokens``."""
    workload = Workload.demo()
    rollouts = workload.rollouts(B_E, 1, estimator=core.ESTIMATOR)
    policy, u = workload.probe.policy, workload.update.direction

    def run(tokens: int, r: int) -> None:
        directional_derivatives(policy, rollouts, u, [core.ESTIMATOR], chunk_tokens=tokens)

    seconds = interleaved({str(size): partial(run, size) for size in sizes}, repeats)
    return {name: summary(values) for name, values in seconds.items()}


def against_workers(repeats: int, work: tuple[int, int] = (64, 8)) -> dict[str, dict[str, float]]:
    """Wall time of whole batch-scaling sessions with one and two xdist workers, ``work`` being (B_E, runs).

    A session starts with seconds of imports and of loading, which every worker has to itself; so sessions with next
    to nothing to do are timed as well, and ``speedup_of_the_work`` has them taken off both sides.
    """

    def session(workers: int, size: int, runs: int, r: int) -> None:
        with tempfile.TemporaryDirectory() as results:
            subprocess.run(
                [
                    sys.executable, "-m", "pytest", "experiments/test_batch_scaling.py", "-q", f"-n{workers}",
                    "-p", "no:cacheprovider", f"--be-values={size}", f"--runs={runs}", "--entropy-threads=1",
                    f"--entropy-results={results}",
                ],
                cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip

    tasks = {str(n): partial(session, n, *work) for n in (1, 2)}
    tasks |= {f"{n}, start-up": partial(session, n, 2, n) for n in (1, 2)}
    seconds = interleaved(tasks, repeats)
    whole = [seconds["1"], seconds["2"]]
    alone = [[t - s for t, s in zip(seconds[n], seconds[f"{n}, start-up"], strict=True)] for n in ("1", "2")]
    out = {**{name: summary(values) for name, values in seconds.items()}, "speedup": summary(ratios(*whole))}
    # On a busy machine, or with too little work, start-up alone may take longer: that says nothing of the work.
    if min(map(min, alone)) > 0:
        out["speedup_of_the_work"] = summary(ratios(*alone))
    return out


# ---------------------------------------------------------------------- memory


def memory(repeats: int, sizes: Sequence[int] = (64, 1024)) -> dict[str, object]:
    """Peak resident memory of a whole process by B_E, in MiB, and the ratio of the largest to the smallest."""
    peaks: dict[int, list[float]] = {size: [] for size in sizes}
    loaded: list[float] = []
    for _ in range(repeats):
        for size in sizes:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.scaling", str(size)],
                cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
            )  # fmt: skip
            record = json.loads(done.stdout.splitlines()[-1])
            peaks[size].append(record["peak_mb"])
            loaded.append(record["loaded_mb"])
    return {
        "memory": {
            "peak_mb": {str(size): summary(values) for size, values in peaks.items()},
            "loaded_mb": summary(loaded),
        },
        "rss_1024_over_64": summary(ratios(peaks[sizes[-1]], peaks[sizes[0]])),
    }


def _one_run(B_E: int) -> None:
    """In its own process: load, take the update, run once, print peak memory as JSON."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    workload = Workload.demo()
    loaded = peak_memory_mb()
    workload.probe.run(B_E, 0, update=workload.update)
    record = {"loaded_mb": loaded, "peak_mb": peak_memory_mb(), "seconds": time.perf_counter() - started}
    print(json.dumps(record))


if __name__ == "__main__":
    _one_run(int(sys.argv[1]))
