"""What the experiments write: the keys on disk, and what becomes of a field that was not measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pytest_entropy.checks.summaries.convergence import ConvergenceAnalysis, convergence
from pytest_entropy.checks.summaries.debug import debug_report, saved_gradients
from pytest_entropy.checks.summaries.sanity_check import conclusion, validation_summary
from pytest_entropy.checks.summaries.single_run import single_run_analysis
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain
from pytest_entropy.stats.convergence import ScalingVerdict
from tests.unit.reports.stored import ETA, result, scalars

SETTINGS = {"confidence": 0.95, "tolerance": 0.1}
SCORES = {"score": [0.0] * 16, "reinforce_loo": [1.0] * 16}


def keys(record: object) -> list[str]:
    """The keys of a record as JSON gives them back, without NaN."""
    return list(json.loads(json.dumps(plain(record), allow_nan=False)))


def scaling_runs(**more: Any) -> list[RunRecord]:
    rng, given = np.random.default_rng(0), {"sampling_fraction": 0.0, **more}
    return [result(size, n, scalars(rng, size), **given) for size in (16, 64) for n in (1, 2, 3)]


def concluded(runs: list[RunRecord]) -> tuple[ScalingVerdict, ConvergenceAnalysis]:
    return convergence(runs, alpha=1e-3, rng=np.random.default_rng(1), **SETTINGS)


def test_the_convergence_analysis_has_its_keys() -> None:
    _, analysis = concluded(scaling_runs())
    assert keys(analysis) == [
        "verdict", "reason", "runs_needed", "fit", "check", "batch_statistics", "observed_ratio",
        "expected_if_1_over_B_E", "suggests_convergence", "suggests_1_over_B_E_scaling", "mean_se_total", "se_a_total",
            "prompt_errors",
    ]  # fmt: skip
    assert keys(analysis.fit)[:6] == ["batch_sizes", "n_runs", "n_prompts", "sigma", "confidence", "a"]
    assert "declared_effect" in analysis.check
    assert keys(analysis.batch_statistics["16"]) == [
        "runs", "mean_delta_h1", "std_delta_h1", "mean_se", "signal_to_noise", "signal_to_noise_label", "values",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["sampling_fraction", "se_conditional"])
def test_a_convergence_without_what_it_needs_is_inconclusive_and_written(name: str) -> None:
    runs = scaling_runs()
    nothing: dict[str, Any] = {name: None}
    verdict, analysis = concluded([replace(runs[0], **nothing), *runs[1:]])
    assert verdict.outcome.verdict == "inconclusive"
    assert f"B_E 16 run 1 has no {name}" in verdict.reason
    assert (analysis.fit, analysis.verdict) == (None, "inconclusive")
    assert not analysis.suggests_convergence
    assert set(analysis.mean_se_total) == {"16", "64"}
    assert keys(analysis)


def test_the_validation_summary_has_its_keys_and_names_failed_runs() -> None:
    runs = [result(16, 1, scalars(np.random.default_rng(0), 16), diagnostics=SCORES)]
    summary = validation_summary(runs, {(16, 2): ValueError("out of memory")})
    assert keys(summary) == [
        "runs_planned", "runs_succeeded", "runs_with_diagnostics", "success_rate", "failed_runs", "delta_h1_mean",
        "delta_h1_mean_se", "delta_h1_mean_se_total", "spread_over_runs", "se_conditional_pooled", "spread_over_se",
        "signal_to_noise", "signal_to_noise_label", "per_run", "prompt_errors",
    ]  # fmt: skip
    assert plain(summary.failed_runs) == [{"B_E": 16, "run": 2, "error": "out of memory"}]
    assert keys(summary.per_run[0]) == [
        "B_E", "run", "delta_h1", "se_conditional", "se_total", "reinforce_loo", "seconds",
    ]  # fmt: skip
    assert summary.per_run[0].reinforce_loo == pytest.approx(ETA)
    assert conclusion(runs, 2) == ("runs failed", "1 of 2 runs gave a result")
    assert validation_summary([], {(4, 1): ValueError("x")}).success_rate == 0


def test_the_validation_summary_says_how_many_runs_have_diagnostics() -> None:
    rng = np.random.default_rng(0)
    asked = result(16, 1, scalars(rng, 16), diagnostics=SCORES, asked=["score", "reinforce_loo", "definition"])
    plain_run = result(16, 2, scalars(rng, 16), asked=[])
    summary = validation_summary([asked, plain_run], {})
    assert summary.runs_with_diagnostics == 1
    assert summary.per_run[0].reinforce_loo == pytest.approx(ETA)
    assert summary.per_run[1].reinforce_loo is None
    words = "2 of 2 runs gave a result; 1 of them with diagnostics (checks.depth light)"
    assert conclusion([asked, plain_run], 2) == ("runs succeeded", words)
    assert conclusion([asked], 1) == ("runs succeeded", "1 of 1 runs gave a result")


def test_a_single_run_without_a_sweep_has_no_key_for_it() -> None:
    runs = [result(16, 1, scalars(np.random.default_rng(0), 16))]
    analysis = single_run_analysis(runs, confidence=0.95, tolerance=0.1)
    assert keys(analysis) == ["results", "mean"]
    assert keys(analysis.results[0])[:8] == [
        "B_E", "B_U", "G", "delta_h1", "se_conditional", "unit", "mode", "se_total",
    ]  # fmt: skip


def test_the_debug_report_has_the_saved_gradients(tmp_path: Path) -> None:
    run = replace(result(16, 1, scalars(np.random.default_rng(0), 16), diagnostics=SCORES), directory="debug_BE016")
    (tmp_path / "update").mkdir()
    (tmp_path / run.directory).mkdir()
    save_file({"w": torch.tensor([2.0, 0.5])}, tmp_path / "update" / "direction.safetensors")
    save_file({"w": torch.tensor([3.0, 4.0])}, tmp_path / run.directory / "entropy_gradient.safetensors")
    saved = saved_gradients([run], tmp_path)
    report = debug_report([run], saved, **SETTINGS)
    assert keys(report) == ["update", "runs", "saved_gradients"]
    assert plain(report.saved_gradients) == [
        {"run": "debug_BE016", "delta_h1": run.delta_h1, "delta_h1_from_files": pytest.approx(8 * ETA)}
    ]
    assert keys(report.runs[0]) == [
        "B_E", "run", "delta_h1", "se_conditional", "se_total", "variance_parts", "notes", "estimators",
        "score_identity", "per_prompt", "entropy_mean", "length_mean", "ended_share", "agreement", "seconds",
        "peak_memory_mb", "eta_sweep",
    ]  # fmt: skip
    assert set(report.runs[0].estimators) == {"rao_blackwell", "reinforce_loo"}
