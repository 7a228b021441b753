"""Threads of one process."""

from __future__ import annotations

import os

import pytest

from pytest_entropy.runs.machine import threads_for

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize("limit", ["", "0", "many", "-2", str(CORES + 1)])
def test_a_process_takes_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert threads_for(None, 1) == CORES
    assert threads_for(None, 2 * CORES) == 1


@pytest.mark.parametrize("limit", ["1", "1,4", " 1 "])
def test_the_share_is_at_most_what_openmp_is_allowed(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert threads_for(None, 1) == 1
    assert threads_for(3, 1) == 3, "a number that was asked for stands"
