"""The GPU benchmark's whole path at tiny size on the CPU: bfloat16 base, float32 adapter, vocabulary in pieces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_entropy.policy import distribution, teacher_forcing


@pytest.mark.slow
def test_the_script_runs_and_writes_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu

    monkeypatch.setattr(teacher_forcing, "TABLE_ENTRIES", 512 * 30)
    monkeypatch.setattr(distribution, "DRAW_ENTRIES", 512 * 5)
    place = tmp_path / "gpu.json"
    record = gpu.main(["--tiny", "--device=cpu", "--repeats=2", "--static-cache"], place)
    assert json.loads(place.read_text()) == record
    assert set(record["seconds"]) == set(record["peak_mb"]) == {
        "update", "sampling", "derivatives", "generate", "forward-backward"
    }  # fmt: skip
    assert record["run_over_floor"]["n"] == 2
    assert record["finite"]
    assert record["oracle_gap"] < 1e-9
    # What bfloat16 activations may differ by between one token at a time and all at once.
    assert record["sampler_gap"] < 0.2
