"""The benchmark: the probe against its predecessor, other methods and the floor, in one run.

    python -m benchmarks.run [--quick] [--only core,memory]

Prints a table, writes ``benchmarks/results/latest.json`` and ``latest.png``.  Ratios are taken round by round of
interleaved repeats; absolute seconds mean little on a busy machine, so its load is reported.  Exit code 1 if the
methods disagree on the same rollouts.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks import bias, core, figures, interval_coverage, scaling, startup
from benchmarks.long_section import long_section
from benchmarks.measure import load, ratios, summary
from benchmarks.workload import LIMIT, SEEDS, G, Workload

RESULTS = Path(__file__).parent / "results"
TARGETS = {
    "cost_of_precision_ratio": (">=", 50.0),
    "cost_of_precision_worst": (">=", 35.0),
    "cost_of_precision_long": (">=", 15.0),
    "run_over_floor": ("<=", 0.8),
    "rss_1024_over_64": ("within 5 % of", 1.0),
}


def core_section(quick: bool) -> dict[str, Any]:
    """Methods, floor, standard errors and cost of precision, on the demo."""
    workload = Workload.demo()
    few, fewer = core.fewer_responses(512 if quick else 8192)
    timed, cpu = core.timings(workload, few, 2 if quick else 7)
    pools = {
        seed: core.pooled_scalars(128 if quick else 2048, Workload.demo(seed=seed, diagnostics=core.OTHERS))
        for seed in SEEDS
    }
    return {
        "B_E": core.B_E,
        "update_seeds": SEEDS,
        "equal_numbers": core.equal_numbers(4 if quick else 8),
        "seconds": {name: summary(values) for name, values in timed.seconds.items()},
        "predecessor_seconds": {name: summary(values) for name, values in timed.predecessor_phases.items()},
        "run_seconds": summary(timed.seconds[core.RUN]),
        "run_over_floor": summary(ratios(timed.seconds[core.RUN], timed.total("generate", "forward-backward"))),
        **core.cost_of_precision(timed, pools),
        "cost_of_precision_two_responses": core.precision_ratio_of_fewer(timed, pools[SEEDS[0]], fewer),
        "standard_errors": {seed: core.standard_errors(pool, workload.probe.eta) for seed, pool in pools.items()},
        "cost_at_two_sizes": core.constancy(workload, pools[SEEDS[0]], 1 if quick else 5),
        "cpu": cpu_seconds(cpu, pools),
    }


def cpu_seconds(timed: core.Timings, pools: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The ratios once more in CPU seconds."""
    by_offer = core.precision_ratios(timed, core.less_variance(pools))
    return {
        "seconds": {name: summary(values) for name, values in timed.seconds.items()},
        "less_seconds": summary(ratios(timed.seconds["predecessor"], timed.seconds[core.RUN])),
        "run_over_floor": summary(ratios(timed.seconds[core.RUN], timed.total("generate", "forward-backward"))),
        "cost_of_precision_by_offer": {name: core.over_seeds(by_seed) for name, by_seed in by_offer.items()},
    }


SECTIONS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "core": core_section,
    "long": lambda quick: long_section(64 if quick else 512, 1 if quick else 3),
    "bias": lambda quick: {"bias": bias.biases(2_000 if quick else 100_000)},
    "coverage": lambda quick: interval_coverage.coverage_section(
        128 if quick else 2048, 128 if quick else 1024, 100 if quick else 10_000
    ),
    "against_B_E": lambda quick: {
        "against_B_E": scaling.against_B_E(
            Workload.demo(), 1 if quick else 5, (8, 16, 32) if quick else (32, 64, 128, 256)
        )
    },
    "model_size": lambda quick: {
        "against_model_size": scaling.against_model_size(1 if quick else 5, 4 if quick else 16)
    },
    "batch_size": lambda quick: {"against_batch_size": scaling.against_batch_size(1 if quick else 5)},
    "startup": lambda quick: {"startup": startup.startup(1 if quick else 7)},
    "memory": lambda quick: scaling.memory(1 if quick else 5, (8, 32) if quick else (64, 1024)),
    "workers": lambda quick: {
        "against_workers": scaling.against_workers(1 if quick else 5, (8, 2) if quick else (64, 8))
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="speed and precision against baselines")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to measure anew, comma-separated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
    settings = {"G": G, "max_new_tokens": LIMIT, "quick": options.quick, "machine": machine()}
    record: dict[str, Any] = (previous() if options.only != parser.get_default("only") else {}) | settings
    for name in options.only.split(","):
        started, before = time.perf_counter(), load()
        record |= SECTIONS[name](options.quick)
        took = time.perf_counter() - started
        record.setdefault("sections", {})[name] = {
            "seconds": took, "load_before": before, "load_after": load(), "at": time.strftime("%Y-%m-%d %H:%M:%S"),
        }  # fmt: skip
        print(f"{name}: {took:.0f} s", flush=True)
        write(record)
    print("\n".join(table(record)))


def previous() -> dict[str, Any]:
    """The sections of the last run, so that ``--only`` renews parts of it."""
    path = RESULTS / "latest.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"processor": platform.machine(), "python": platform.python_version(), **versions, **load()}


def write(record: dict[str, Any]) -> None:
    """latest.json, and the picture where all it shows was measured."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(record, indent=2) + "\n")
    if {"attribution", "against_B_E", "memory"} <= set(record):
        figures.draw(record, RESULTS / "latest.png")


def table(record: dict[str, Any]) -> list[str]:
    """The record as Markdown lines."""
    lines = ["", "| measured | median | min | max | n | target |", "|---|---|---|---|---|---|"]

    def row(name: str, s: dict[str, float], target: str = "") -> None:
        numbers = " | ".join(f"{s[key]:.3g}" for key in ("median", "min", "max"))
        lines.append(f"| {name} | {numbers} | {s['n']} | {target} |")

    for name, (sign, value) in TARGETS.items():
        if name in record:
            row(name, record[name], f"{sign} {value:g}")
    for name in ("run_seconds", "less_seconds"):
        if name in record:
            row(name, record[name])
    for name, s in record.get("cost_of_precision_by_offer", {}).items():
        row(f"cost of precision, {name}" + (" (default)" if name == record["default"] else ""), s)
    for seed, s in record.get("cost_of_precision_by_seed", {}).items():
        row(f"cost of precision, update seed {seed}", s)
    if "long" in record:
        for seed, s in record["long"]["cost_of_precision_by_seed"].items():
            row(f"cost of precision, long answers, update seed {seed}", s)
        for name in ("less_seconds", "run_over_floor"):
            row(f"long answers, {name}", record["long"][name])
        for name, s in record["long"]["seconds"].items():
            row(f"long answers, seconds: {name}", s)
    if "cost_of_precision_two_responses" in record:
        row("cost of precision, action_value, two responses a prompt", record["cost_of_precision_two_responses"])
    for group in ("seconds", "predecessor_seconds", "against_batch_size"):
        for name, s in record.get(group, {}).items():
            row(f"{group}: {name}", s)
    for name in ("less_seconds", "run_over_floor"):
        if "cpu" in record:
            row(f"{name}, in CPU seconds", record["cpu"][name])
    for name, s in record.get("cpu", {}).get("cost_of_precision_by_offer", {}).items():
        row(f"cost of precision in CPU seconds, {name}", s)
    for name, s in record.get("cpu", {}).get("seconds", {}).items():
        row(f"CPU seconds: {name}", s)
    for name, entry in record.get("against_model_size", {}).items():
        row(f"{name} model ({entry['parameters']:,} weights), run / floor", entry["over_floor"], "<= 1")
    for name, s in record.get("against_B_E", {}).get("seconds", {}).items():
        row(f"B_E = {name}, seconds", s)
    for name, s in record.get("memory", {}).get("peak_mb", {}).items():
        row(f"B_E = {name}, peak MiB", s)
    for name, s in record.get("against_workers", {}).items():
        row(f"workers: {name}", s)
    for name, s in record.get("startup", {}).get("seconds", {}).items():
        row(name, s)
    if "startup" in record:
        row("plugin import, ms", record["startup"]["plugin_import_ms"], "< 50")
    for base, s in record.get("startup", {}).get("imports", {}).items():
        if base.startswith("over"):
            for name, ratio in s.items():
                row(f"imports of a {name}, CPU s {base}", ratio)
    lines.append("")
    if "against_B_E" in record:
        lines.append(f"linear in B_E: R² = {record['against_B_E']['fit']['r2']:.4f} (target > 0.99)")
    for name, factor in record.get("attribution", {}).items():
        lines.append(f"seconds x SE², by {name}: {factor:.2f} times less")
    for seed, pool in record.get("standard_errors", {}).items():
        for name, entry in pool.items():
            v, where = entry["variance"], f"update seed {seed}, {name}"
            lines.append(
                f"{where}: SE {entry['se']:.2e} nats; var(s) {v['value']:.4g} [{v['low']:.4g}, {v['high']:.4g}]"
            )
    for seed, pool in record.get("long", {}).get("variance", {}).items():
        for name, v in pool.items():
            where = f"long answers, update seed {seed}, {name}"
            lines.append(f"{where}: var(s) {v['value']:.4g} [{v['low']:.4g}, {v['high']:.4g}]")
    for name, entry in record.get("bias", {}).items():
        lines.append(f"bias of {name}: {entry['z']:+.2f} SE on {entry['n']} prompts of the enumerable policy")
    for size, entry in record.get("cost_at_two_sizes", {}).items():
        lines.append(
            f"B_E = {size}: seconds x SE² {entry['cost']:.3g} [{entry['low']:.3g}, {entry['high']:.3g}] nats² s"
        )
    if "interval_coverage" in record:
        lines += interval_coverage.lines(record["interval_coverage"])
    if "equal_numbers" in record:
        lines.append(f"methods agree to {max(record['equal_numbers'].values()):.1e} (float64)")
    return lines


if __name__ == "__main__":
    main()
