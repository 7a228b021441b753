"""One checkpoint, one number: experiments share the update batch, agree, and give one answer with both its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

from tests.conftest import Workspace
from tests.integration.test_reports import entropy_section

FOUR = ("batch_scaling", "sanity_check", "single_run", "debug")


def records(results: Path, experiment: str) -> list[dict[str, Any]]:
    found = [json.loads(file.read_text()) for file in (results / experiment).rglob("results.json")]
    assert found, experiment
    return found


def mean_and_error(runs: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """The mean delta_h1 of all prompts of the runs, and its standard error given the update batch."""
    runs = list(runs)
    weights = np.array([run["B_E"] for run in runs]) / sum(run["B_E"] for run in runs)
    errors = weights * [run["se_conditional"] for run in runs]
    return float(weights @ [run["delta_h1"] for run in runs]), float(np.square(errors).sum() ** 0.5)


@pytest.mark.slow
def test_the_four_experiments_agree_on_the_demo_and_give_one_answer(workspace: Workspace) -> None:
    modules = [f"experiments/test_{name}.py" for name in FOUR]
    done = workspace.run(*modules, "--runs=4", "-n", "2", timeout=900)
    assert done.returncode == 0, done.stdout
    by_experiment = {name: records(workspace.results, name) for name in FOUR}
    every = [run for runs in by_experiment.values() for run in runs]
    assert len({json.dumps(run["update"]["prompts"]) for run in every}) == 1
    norms = [run["update"]["direction_norm"] for run in every]
    assert max(norms) == pytest.approx(min(norms), rel=1e-6)
    # With its second computations, and without.
    assert len(list((workspace.results / "update_batches").glob("[!.]*"))) == 2
    means, errors = np.array([mean_and_error(runs) for runs in by_experiment.values()]).T
    pooled = np.average(means, weights=errors**-2)
    chi_squared = float(np.square((means - pooled) / errors).sum())
    # A correct probe fails once in 1e5 sessions.
    assert scipy.stats.chi2.sf(chi_squared, len(FOUR) - 1) > 1e-5, (means, errors)
    words = " ".join(" ".join(entropy_section(done.stdout)).split())
    said = re.search(r"the answer: entropy falls by ([\d.]+) nats/response at the next step \(95%: by", words)
    assert said, words
    mean, _ = mean_and_error(every)
    assert float(said[1]) == pytest.approx(-mean, rel=0.01)
    assert "for this update batch, ± 0.00" in words
    assert "drift per step, the mean over update batches: falls by" in words
    assert "the probe can be trusted here:" in words
    for name in FOUR:
        (page,) = (workspace.results / name).rglob("report.html")
        assert "over update batches" in page.read_text(), name


@pytest.mark.slow
def test_several_update_batches_are_a_mean_with_a_figure(workspace: Workspace) -> None:
    done = workspace.run(*workspace.single, "--entropy-set", "batch_config.updates=3", "-n", "2")
    assert done.returncode == 0, done.stdout
    runs = records(workspace.results, "single_run")
    assert len(runs) == 3
    assert len({json.dumps(run["update"]["prompts"]) for run in runs}) == 3
    (analysis,) = workspace.results.rglob("single_test_results.json")
    mean = json.loads(analysis.read_text())["mean"]
    assert mean["delta_h1"] == pytest.approx(np.mean([run["delta_h1"] for run in runs]))
    parts = [run["variance_total"] - run["variance_conditional"] for run in runs]
    own = np.mean([run["variance_conditional"] for run in runs])
    # Runs share few of the prompts of their set; the update batches' part is divided by their number.
    assert mean["se_conditional"] ** 2 == pytest.approx(own / 3, rel=0.5)
    expected = max(mean["se_conditional"] ** 2 + np.mean(parts) / 3, mean["se_conditional"] ** 2)
    assert mean["se_total"] ** 2 == pytest.approx(expected)
    (page,) = workspace.results.rglob("report.html")
    assert "δH₁ along each update batch" in page.read_text()
    words = " ".join(" ".join(entropy_section(done.stdout)).split())
    assert "mean of 3 runs along 3 update batches" in words


def test_where_runs_are_compared_there_is_one_update_batch(workspace: Workspace) -> None:
    done = workspace.refused(*workspace.scaling, "--entropy-set", "batch_config.updates=2")
    assert "batch_config.updates is 2, and batch_scaling compares runs along one update batch: give it to" in (
        done.stdout + done.stderr
    )
