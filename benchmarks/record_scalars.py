"""Records the demo checkpoint's per-prompt scalars, from which tests/statistical/test_levels.py resamples sessions.

python benchmarks/record_scalars.py --prompts 4096 --G 8 --out tests/statistical/scalars/demo_g8.npz

A policy that has all but collapsed, for test_collapsed_policies (its update is momentum's, for its rewards are equal):
--prompts 2048 --per-run 64 --temperature 0.25 --update-rule adamw --out tests/statistical/scalars/demo_t0.25.npz

``reads_g8.npz`` has s alone, with companion reads, recorded so on 2026-11-27; the others are older than reads.

The eta sweep's slope at step 0 and second derivative of each prompt, for the intervals of test_coverage.py:
--sweep --prompts 2048 --G 8 --out tests/statistical/scalars/sweep_g8.npz
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy import stats

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checks.summaries.sweep_fit import fit, sweep_of


def record(
    prompts: int, G: int, seed: int, *, per_run: int, temperature: float, update_rule: str
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Scalars by name, ``[prompts]`` each, and what they were measured with; one update, many independent runs."""
    config = ProbeConfig(
        B_U=32, G=G, max_new_tokens=32, temperature=temperature, update_rule=update_rule,
        diagnostics=("reinforce_loo", "score", "ranks", "entropy_slope"),
    )  # fmt: skip
    probe = EntropyProbe(load_checkpoint("demo"), config)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("s", "loo_difference", "score", "slope_difference")}
    lengths, surprises = [], []
    for number in range(1, prompts // per_run + 1):
        result = probe.run(per_run, seed=seed, run=number)
        parts["s"].append(np.asarray(result.per_prompt))
        # What is compared on the same rollouts is compared without companion reads.
        s = np.asarray(result.entropy_term)
        parts["loo_difference"].append(s - np.asarray(result.diagnostics["reinforce_loo"]))
        parts["score"].append(np.asarray(result.diagnostics["score"]))
        parts["slope_difference"].append(s - np.asarray(result.diagnostics["entropy_slope"]))
        lengths.append(result.length_mean)
        assert result.expected_surprises is not None
        surprises.append(result.expected_surprises)
        print(f"run {number}: delta_h1 {result.delta_h1:.3e} +- {result.se_conditional:.1e}", flush=True)
    about = {
        "eta": probe.eta, "G": G, "seed": seed, "prompts_per_run": per_run, "mean_length": float(np.mean(lengths)),
        "temperature": temperature, "update_rule": update_rule, "expected_surprises": float(np.sum(surprises)),
    }  # fmt: skip
    return {name: np.concatenate(p) for name, p in parts.items()}, about


def record_sweep(
    prompts: int, G: int, seed: int, *, per_run: int, temperature: float, update_rule: str
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Slope at step 0 and second derivative ``[prompts]`` each, nats per response and units of eta; one update."""
    config = ProbeConfig(
        B_U=32, G=G, max_new_tokens=32, temperature=temperature, update_rule=update_rule, diagnostics=("eta_sweep",)
    )
    probe = EntropyProbe(load_checkpoint("demo"), config)
    parts: dict[str, list[np.ndarray]] = {"slope": [], "second_derivative": []}
    for number in range(1, prompts // per_run + 1):
        sweep = sweep_of(probe.run(per_run, seed=seed, run=number))
        fitted = None if sweep is None else fit(sweep)
        assert fitted is not None, "fewer than two steps of the sweep are trusted"
        parts["slope"].append(fitted.intercepts)
        parts["second_derivative"].append(2 * fitted.slopes)
        print(f"run {number}: through the steps {fitted.steps.tolist()}", flush=True)
    about = {
        "eta": probe.eta, "G": G, "seed": seed, "prompts_per_run": per_run, "temperature": temperature,
        "update_rule": update_rule,
    }  # fmt: skip
    return {name: np.concatenate(p) for name, p in parts.items()}, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=4096)
    parser.add_argument("--G", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-run", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--update-rule", default="preconditioned")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    began = time.perf_counter()
    scalars, about = (record_sweep if given.sweep else record)(
        given.prompts, given.G, given.seed,
        per_run=given.per_run, temperature=given.temperature, update_rule=given.update_rule,
    )  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"about": np.array(json.dumps(about)), **{name: x.astype(np.float32) for name, x in scalars.items()}}
    np.savez_compressed(given.out, allow_pickle=True, **arrays)
    for name, x in scalars.items():
        t = x.mean() / x.std(ddof=1) * len(x) ** 0.5
        shape = f"skewness {stats.skew(x):.1f}, kurtosis {stats.kurtosis(x, fisher=False):.1f}"
        print(f"{name}: n {len(x)}, mean {x.mean():.4g}, sd {x.std(ddof=1):.4g}, t {t:.2f}, {shape}")
    print(f"{given.out}: {given.out.stat().st_size} bytes, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
