"""Which directories are the old script's, by the names that its README and ``migrate`` give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.reports.legacy import legacy_at
from tests.unit.reports.stored import store_experiment

OLD = {
    "batch_scaling/δH₁_convergence_2025-08-27_22-30-15": ("batch_scaling", "2025-08-27"),
    "batch_scaling/legacy_test_2025-08-27": ("batch_scaling", "2025-08-27"),
    "batch_scaling/memory_scaling_2025-08-28_10-15-30": ("memory_scaling", "2025-08-28"),
    "debug/debug_analysis_2025-08-27_22-30-15": ("debug", "2025-08-27"),
    "sanity_check/validation_2025-08-27_22-30-15": ("sanity_check", "2025-08-27"),
    "single_run/legacy_by_hand": ("single_run", ""),
    "single_run/single_run_2025-08-27_22-30-15": ("single_run", "2025-08-27"),
}
# Ours, another tool's, and one of ours whose manifest cannot be read.
OTHERS = [
    "batch_scaling/δH₁_convergence_2026-01-01_00-00-00",
    "batch_scaling/mine_2025-08-27_22-30-15",
    "debug/debug_analysis_2026-01-01_00-00-00",
]


def test_old_directories_are_found_and_no_others(tmp_path: Path) -> None:
    store_experiment(tmp_path)
    for name in (*OLD, *OTHERS):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / OTHERS[-1] / "experiment.json").write_text("{")
    (tmp_path / "single_run" / "legacy_file").write_text("")
    assert {one.directory.relative_to(tmp_path).as_posix(): (one.kind, one.date) for one in legacy_at(tmp_path)} == OLD


@pytest.mark.parametrize("place", ["single_run", "single_run/legacy_by_hand"])
def test_a_category_and_the_directory_itself_are_places(tmp_path: Path, place: str) -> None:
    (tmp_path / "single_run" / "legacy_by_hand").mkdir(parents=True)
    (found,) = legacy_at(tmp_path / place)
    assert (found.directory.name, found.kind, found.date) == ("legacy_by_hand", "single_run", "")
    assert list(legacy_at(tmp_path / "nowhere")) == []
