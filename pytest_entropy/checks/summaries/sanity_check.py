"""The sanity check's record: success rate, and every variance estimate side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_entropy.checks.update_moves import said_first
from pytest_entropy.stats import Measurement, pool, signal_to_noise

if TYPE_CHECKING:
    from pytest_entropy.plugin.fixtures import Runs


def summary(runs: Runs) -> dict[str, Any]:
    """What ``validation_summary.json`` holds: success rate, and every variance estimate side by side."""
    results = runs.results
    delta = np.array([run.delta_h1 for run in results])
    conditional = np.array([np.nan if run.se_conditional is None else run.se_conditional for run in results])
    spread = float(delta.std(ddof=1)) if len(delta) > 1 else None
    known = bool(len(delta) and np.isfinite(conditional).all())
    pooled = float(np.sqrt(np.mean(conditional**2))) if known else None
    mean = float(delta.mean()) if len(delta) else None
    whole = pool([Measurement.of(run) for run in results]) if results else None
    mean_se = whole.se if whole is not None else None
    ratio, label = signal_to_noise(mean, mean_se) if mean is not None else (None, "poor")
    return {
        "runs_planned": runs.planned,
        "runs_succeeded": len(results),
        "success_rate": len(results) / runs.planned,
        "failed_runs": [{"B_E": b, "run": r, "error": str(e)} for (b, r), e in sorted(runs.failures.items())],
        "delta_h1_mean": mean,
        "delta_h1_mean_se": mean_se,
        "delta_h1_mean_se_total": whole.se_total if whole is not None else None,
        "spread_over_runs": spread,
        "se_conditional_pooled": pooled,
        "spread_over_se": spread / pooled if spread is not None and pooled else None,
        "signal_to_noise": ratio,
        "signal_to_noise_label": label,
        "per_run": [
            {
                "B_E": run.B_E,
                "run": run.run,
                "delta_h1": run.delta_h1,
                "se_conditional": run.se_conditional,
                "se_total": run.se_total,
                "reinforce_loo": float(run.eta * np.mean(run.diagnostics["reinforce_loo"])),
                "seconds": sum(run.seconds.values()),
            }
            for run in results
        ],
    }


def conclusion(runs: Runs) -> tuple[str, str]:
    """Verdict and reason in words."""
    done, planned = len(runs.results), runs.planned
    verdict = "runs succeeded" if done == planned else "runs failed"
    return verdict, said_first(runs.results, f"{done} of {planned} runs gave a result")
