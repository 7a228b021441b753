"""Is a correct probe ever red?  The demo's sanity check under many experiment seeds, one real session each.

``python benchmarks/sessions.py --seeds 200`` writes ``benchmarks/results/sessions.json`` (one line of p-values per
session, so that an interrupted series goes on where it was) and ``sessions.png``, the histogram of p-values.

What follows ``--`` goes to every session, ``-- --prompts benchmarks/forty_prompts.jsonl --bu 8`` for a small set of
prompts, ``-- --entropy-set sampling.temperature=0.02`` for a policy that has collapsed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from pytest_entropy.stats import check_uniform_p_values
from pytest_entropy.stats.uniform import Side

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Uniform under the null but for the grid of its shuffles; the others promise no more than P(p <= x) <= x.
EXACT = {"se_calibration": 2 / 2001}
# This report's own chance to complain of a correct probe, shared by the checks it looks at.
ALPHA = 1e-3


# What a session imports anyway: loaded once, then every session is a fresh process forked from there.
PRELOAD = ["torch", "transformers", "peft", "scipy.stats", "pytest"]


def session(seed: int, options: tuple[str, ...] = ()) -> dict[str, object]:
    """Exit code and p-value by check of one session with more ``options``, run by pytest in this process."""
    import pytest

    directory = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-"))
    arguments = [
        *("experiments/test_sanity_check.py", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *("--entropy-threads", "1", "--entropy-seed", str(seed), "--entropy-results", str(directory / "results")),
        *options,
    ]
    os.chdir(ROOT)
    output = directory / "output.txt"
    try:
        with output.open("w") as stream, redirect_stdout(stream), redirect_stderr(stream):
            code = int(pytest.main(arguments))
        outcomes = [json.loads(file.read_text()) for file in directory.rglob("check_*.json")]
        text = output.read_text()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    record: dict[str, object] = {"seed": seed, "exit_code": code}
    record["p_values"] = {o["name"]: o["p_value"] for o in outcomes if o["p_value"] is not None}
    record["inconclusive"] = [o["name"] for o in outcomes if o["verdict"] == "inconclusive"]
    if code:
        record["output"] = text[-4000:]
    return record


def report(records: list[dict[str, Any]], *, exact: Mapping[str, float] = EXACT) -> dict[str, Any]:
    """Red sessions with their interval, and each check's p-values against the uniform (both ways if ``exact``)."""
    red = [r["seed"] for r in records if r["exit_code"]]
    interval = scipy_stats.binomtest(len(red), len(records)).proportion_ci()
    names = sorted({name for r in records for name in r["p_values"]})
    uniformity = {}
    for name in names:
        p = [r["p_values"][name] for r in records if name in r["p_values"]]
        side: Side = "both" if name in exact else "too_small"
        resolution = exact.get(name, 0.0)
        outcome = check_uniform_p_values(p, alpha=ALPHA / len(names), name=name, side=side, resolution=resolution)
        uniformity[name] = {
            "tested": "uniform" if side == "both" else "no smaller than uniform",
            "ks_p": outcome.p_value,
            "verdict": outcome.verdict,
            # For information: bounds on p (too large on purpose) are far from uniform on the harmless side.
            "ks_two_sided_p": float(scipy_stats.kstest(p, "uniform").pvalue),
            "share_below_0.05": float(np.mean(np.array(p) < 0.05)),
            "histogram": np.histogram(p, bins=10, range=(0, 1))[0].tolist(),
        }
    return {
        "sessions": len(records),
        "red": red,
        "red_share_interval_95": [float(interval.low), float(interval.high)],
        "inconclusive": sorted({name for r in records for name in r["inconclusive"]}),
        "p_values": uniformity,
    }


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """One histogram per check."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tables = summary["p_values"]
    figure, axes = plt.subplots(1, len(tables), figsize=(2.6 * len(tables), 2.4), sharey=True, squeeze=False)
    for axis, (name, table) in zip(axes[0], tables.items(), strict=True):
        axis.bar(np.arange(10) / 10 + 0.05, table["histogram"], width=0.095)
        axis.axhline(summary["sessions"] / 10, color="black", linewidth=0.8)
        axis.set(title=name.replace("_", " "), xlabel="p")
        axis.title.set_size(9)
    figure.suptitle(f"{summary['sessions']} sessions, {len(summary['red'])} red", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many experiment seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="sessions at once")
    parser.add_argument("--out", type=Path, default=RESULTS / "sessions.json")
    parser.add_argument("session", nargs="*", help="after --: options of every session")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.with_suffix(".jsonl")
    records = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {r["seed"] for r in records}
    missing = [s for s in range(options.first, options.first + options.seeds) if s not in done]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with (
        ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool,
        lines.open("a") as stream,
    ):
        for future in as_completed([pool.submit(session, seed, tuple(options.session)) for seed in missing]):
            record = future.result()
            records.append(record)
            stream.write(json.dumps(record) + "\n")
            stream.flush()
            print(f"seed {record['seed']}: exit code {record['exit_code']}", flush=True)
    # Options may give a set so small that no exact level is left, only one that is not exceeded.
    summary = report(sorted(records, key=lambda r: r["seed"]), exact={} if options.session else EXACT)
    options.out.write_text(json.dumps(summary, indent=1) + "\n")
    draw(summary, options.out.with_suffix(".png"))
    print(json.dumps(summary, indent=1))
    sys.exit(bool(summary["red"]) or any(t["verdict"] == "fail" for t in summary["p_values"].values()))


if __name__ == "__main__":
    main()
