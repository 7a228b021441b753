"""Records the demo checkpoint's per-prompt scalars, from which tests/statistical/test_levels.py resamples sessions.

python benchmarks/record_scalars.py --prompts 4096 --G 8 --out tests/statistical/scalars/demo_g8.npz
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy import stats

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint

PER_RUN = 256


def record(prompts: int, G: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Scalars by name, ``[prompts]`` each, and what they were measured with; one update, many independent runs."""
    config = ProbeConfig(
        B_U=32, G=G, max_new_tokens=32, diagnostics=("reinforce_loo", "score", "ranks", "entropy_slope")
    )
    probe = EntropyProbe(load_checkpoint("demo"), config)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("s", "loo_difference", "score", "slope_difference")}
    lengths = []
    for number in range(1, prompts // PER_RUN + 1):
        result = probe.run(PER_RUN, seed=seed, run=number)
        s = np.asarray(result.per_prompt)
        parts["s"].append(s)
        parts["loo_difference"].append(s - np.asarray(result.diagnostics["reinforce_loo"]))
        parts["score"].append(np.asarray(result.diagnostics["score"]))
        parts["slope_difference"].append(s - np.asarray(result.diagnostics["entropy_slope"]))
        lengths.append(result.length_mean)
        print(f"run {number}: delta_h1 {result.delta_h1:.3e} +- {result.se_conditional:.1e}", flush=True)
    about = {"eta": probe.eta, "G": G, "seed": seed, "prompts_per_run": PER_RUN, "mean_length": float(np.mean(lengths))}
    return {name: np.concatenate(p) for name, p in parts.items()}, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=4096)
    parser.add_argument("--G", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    began = time.perf_counter()
    scalars, about = record(given.prompts, given.G, given.seed)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: x.astype(np.float32) for name, x in scalars.items()}
    np.savez_compressed(given.out, about=np.array(json.dumps(about)), **arrays)
    for name, x in scalars.items():
        t = x.mean() / x.std(ddof=1) * len(x) ** 0.5
        shape = f"skewness {stats.skew(x):.1f}, kurtosis {stats.kurtosis(x, fisher=False):.1f}"
        print(f"{name}: n {len(x)}, mean {x.mean():.4g}, sd {x.std(ddof=1):.4g}, t {t:.2f}, {shape}")
    print(f"{given.out}: {given.out.stat().st_size} bytes, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
