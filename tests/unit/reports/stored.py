"""Stored experiments for tests of what is made from them: real records, numbers from a seeded generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_entropy.records.files import write_json, write_text
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain
from pytest_entropy.settings.experiments import kind_of
from pytest_entropy.settings.layers import Layer, resolve_config

ETA = 2e-4


def result(B_E: int, run: int, per_prompt: np.ndarray, **more: Any) -> RunRecord:
    """A run whose numbers follow from its per-prompt scalars, as the probe's do."""
    s = np.asarray(per_prompt, dtype=float)
    variance = float(ETA**2 * s.var(ddof=1) / len(s))
    fields: dict[str, Any] = {
        "B_E": B_E, "G": 8, "run": run, "seed": 1000 * B_E + run, "delta_h1": float(ETA * s.mean()),
        "variance_conditional": variance, "se_conditional": variance**0.5, "per_prompt": s.tolist(), "eta": ETA,
        "eta_source": "optimizer.pt", "estimator": "rao_blackwell", "update_rule": "preconditioned",
        "entropy_mean": 1.75, "entropy_se": 0.4 / len(s) ** 0.5, "length_mean": 18.0, "ended_share": 1.0,
        "agreement": {"log_probs": 1e-6, "entropies": 1e-6},
        "seconds": {"sampling": 0.2, "self_check": 0.05, "derivatives": 0.5}, "peak_memory_mb": 800.0 + B_E,
        "memory_mb": {"sampling": 700.0, "self_check": 650.0, "derivatives": 800.0 + B_E},
        "companions": {"count": 0},
        "update": {"prompts": ["p1", "p2"], "rewards": [[0.0, 1.0], [1.0, 0.0]], "seed": 7},
    }  # fmt: skip
    return RunRecord.from_dict(plain(fields | more))


def scalars(rng: np.random.Generator, B_E: int) -> np.ndarray:
    """Skewed, heavy-tailed scalars, as s_n are."""
    return -100.0 * rng.lognormal(0.0, 0.8, B_E)


def store_experiment(
    root: Path,
    *,
    name: str = "batch_scaling",
    stamp: str = "2026-01-01_00-00-00",
    sizes: tuple[int, ...] = (8, 32),
    runs: int = 2,
    seed: int = 0,
    checks: Sequence[Mapping[str, Any]] | None = None,
    analysis: dict[str, Any] | None = None,
    target: str | None = None,
) -> Path:
    """Write an experiment directory under ``root``, whole; returns it."""
    kind = kind_of(name)
    directory = root / kind.category / f"{kind.directory}_{stamp}"
    rng = np.random.default_rng(seed)
    batch = {"B_E_values": list(sizes), "runs_per_batch": runs, "target_se": target}
    config = resolve_config([Layer("test", {"batch_config": batch})])
    planned = []
    for B_E in sizes:
        for run in range(1, runs + 1):
            place = directory / kind.run_directory.format(B_E=B_E, B_U=32, run=run)
            place.mkdir(parents=True)
            write_json(place / "results.json", {"schema_version": 1, **result(B_E, run, scalars(rng, B_E)).to_dict()})
            write_text(place / "config.yaml", config.to_yaml())
            write_text(place / "probe_log.txt", "INFO\n")
            planned.append(place.name)
    manifest = {
        "schema_version": 1, "experiment": name, "stamp": stamp, "checkpoint": "demo",
        "checkpoint_digest": "1d62985e3aded781", "config_digest": config.digest(), "layout": "step directory",
        "planned_runs": planned, "environment": {"python": "3.11"},
    }  # fmt: skip
    write_json(directory / "experiment.json", manifest)
    for check in checks or []:
        write_json(directory / f"check_{check['name']}.json", check)
    if analysis:
        write_json(directory / kind.analysis, analysis)
    return directory
