"""The answer of a session: the mean over all experiments along one update batch, and when there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_entropy.reports.answer import answers
from pytest_entropy.reports.view import ExperimentView, view_experiment
from tests.present import present
from tests.unit.reports.stored import store_experiment


def view(root: Path, name: str, *, fingerprint: float | None = 1.5, **more: Any) -> ExperimentView:
    """A stored experiment, whose runs are measured along the update with this fingerprint."""
    made = view_experiment(store_experiment(root, name=name, seed=len(name), **more))
    return replace(made, runs=[replace(run, update=replace(run.update, fingerprint=fingerprint)) for run in made.runs])


def test_the_mean_is_weighted_by_prompts_and_its_error_is_that_of_the_sum(tmp_path: Path) -> None:
    views = [view(tmp_path, "batch_scaling", sizes=(8, 64)), view(tmp_path, "sanity_check", sizes=(32,))]
    (found,) = answers(views)
    runs = [run for one in views for run in one.runs]
    prompts = np.array([run.B_E for run in runs])
    assert found.measured.value == pytest.approx(np.average([run.delta_h1 for run in runs], weights=prompts))
    own = [(run.B_E * present(run.se_conditional)) ** 2 for run in runs]
    assert present(found.measured.se) == pytest.approx(sum(own) ** 0.5 / prompts.sum())
    assert (found.runs, found.experiments) == (6, ["batch_scaling", "sanity_check"])
    assert found.measured.se_total is None
    assert found.in_words().startswith("entropy falls by")


def test_a_share_of_one_set_of_prompts_is_common_to_all_runs(tmp_path: Path) -> None:
    views = [view(tmp_path, name, sizes=(32,)) for name in ("batch_scaling", "sanity_check")]
    shared = [replace(one, runs=[replace(run, sampling_fraction=0.5) for run in one.runs]) for one in views]
    (apart,), (common,) = answers(views), answers(shared)
    squares = [present(run.se_conditional) ** 2 for one in views for run in one.runs]
    added = present(common.measured.se) ** 2 - present(apart.measured.se) ** 2
    assert added == pytest.approx(0.5 * float(np.mean(squares)))


def test_the_update_batches_part_enters_once(tmp_path: Path) -> None:
    views = [view(tmp_path, name, sizes=(64,)) for name in ("batch_scaling", "sanity_check")]
    part = 4e-6
    views[0] = replace(
        views[0],
        runs=[replace(run, variance_total=present(run.variance_conditional) + part) for run in views[0].runs],
    )
    (found,) = answers(views)
    assert present(found.measured.se_total) ** 2 == pytest.approx(present(found.measured.se) ** 2 + part)
    assert "drift per step" in found.in_words()


@pytest.mark.parametrize("case", ["other update", "unknown update", "one experiment", "single batches"])
def test_what_is_not_along_one_update_is_not_averaged(tmp_path: Path, case: str) -> None:
    one = view(tmp_path, "batch_scaling")
    other = view(tmp_path, "memory_scaling", fingerprint={"other update": 2.5, "unknown update": None}.get(case, 1.5))
    if case == "single batches":
        other = replace(other, runs=[replace(run, mode="u_statistic") for run in other.runs])
    assert answers([one] if case == "one experiment" else [one, other]) == []
