"""Costs by phase: seconds add up, memory is each phase's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_entropy.probe import peak_memory
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.records import process_memory

MIB = 2**20


def test_phases_keep_their_order_and_their_seconds_add_up() -> None:
    costs = Meter()
    for name in ("sampling", "derivatives", "sampling"):
        with costs.phase(name):
            pass
    assert list(costs.seconds) == list(costs.memory_mb) == ["sampling", "derivatives"]
    assert all(seconds >= 0 for seconds in costs.seconds.values())


def test_a_phase_that_fails_is_counted_all_the_same() -> None:
    costs = Meter()
    with pytest.raises(ZeroDivisionError), costs.phase("reward"):
        1 / 0  # noqa: B018
    assert costs.seconds["reward"] > 0
    assert costs.memory_mb["reward"] > 0


@pytest.mark.slow
def test_memory_is_of_its_own_phase_and_the_process_keeps_the_peak() -> None:
    """In an own process, where nothing else allocates."""
    code = """
import numpy as np
from pytest_entropy.probe.peak_memory import peak_memory_mb
from pytest_entropy.probe.profiler import Meter
m = Meter()
with m.phase("large"):
    np.ones(200 * 2**17).sum()
with m.phase("small"):
    np.ones(2**17).sum()
print(m.memory_mb["large"], m.memory_mb["small"], peak_memory_mb())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large, small, peak = map(float, done.stdout.split())
    assert peak == pytest.approx(large, abs=5)
    if sys.platform == "linux":
        assert 150 < large - small < 250


def test_a_gpu_is_waited_for_at_both_ends_of_a_phase_and_its_own_memory_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):

        def called(device: torch.device, name: str = name) -> int:
            calls.append((name, str(device)))
            return 3 * MIB

        monkeypatch.setattr(torch.cuda, name, called)
    costs = Meter(device=torch.device("cuda", 1))
    with costs.phase("sampling"):
        calls.append(("work", ""))
    assert {device for name, device in calls if name != "work"} == {"cuda:1"}
    names = [name for name, _ in calls if name != "max_memory_allocated"]
    assert names == ["synchronize", "reset_peak_memory_stats", "work", "synchronize"]
    assert costs.memory_mb == {"sampling": 3.0}
    assert peak_memory.peak_memory_mb(costs.device) == 3.0
    # An error is told as it is: a GPU in disorder answers waiting with another.
    calls.clear()
    with pytest.raises(ZeroDivisionError), costs.phase("reward"):
        1 / 0  # noqa: B018
    assert [name for name, _ in calls].count("synchronize") == 1


def test_where_the_count_cannot_be_started_anew_it_is_the_process_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process_memory, "_RESET", tmp_path / "no" / "such")
    costs, block = Meter(), np.ones(40 * MIB // 8)
    with costs.phase("before"):
        block.sum()
    with costs.phase("after"):
        pass
    assert costs.memory_mb["after"] >= costs.memory_mb["before"] > 40
