"""Whole sessions of pytest in this process, with a fault planted, beside those of the correct program."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.in_process import run_here
from tests.statistical.planted.planted_fault import PlantedFault, Sessions

ROOT = Path(__file__).parents[3]
OPTIONS = ("-p", "no:xdist", "--rootdir=.", "-c", "pytest.ini")


def judge_sessions(fault: PlantedFault) -> tuple[float, tuple[str, ...], tuple[str, ...], float]:
    """(effect, failed checks and items of the last session, their messages, seconds of the faulty sessions)."""
    sessions = fault.sessions
    assert sessions is not None
    correct = _correct(sessions)
    with tempfile.TemporaryDirectory(prefix="planted-") as name, pytest.MonkeyPatch.context() as patch:
        start = time.perf_counter()
        place = Path(name).resolve()
        last = _run(sessions, sessions.commands, place, patch, fault.plant)
        seconds = time.perf_counter() - start
        found: float | str = float("inf") if last.returncode == 4 else sessions.reads(place)
        caught, messages = _failures(place, last)
    return _change(found, correct), caught, messages, seconds


_Steps = tuple[tuple[tuple[str, ...], ...], object, object]
_DONE: dict[_Steps, Path] = {}


def _correct(sessions: Sessions) -> float | str:
    """What the correct program gives in place of the wrong number; equal sessions are run once."""
    commands = sessions.reference or sessions.commands
    key = (commands, sessions.before, sessions.between)
    if key not in _DONE:
        place = Path(tempfile.mkdtemp(prefix="planted-")).resolve()
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            last = _run(sessions, commands, place, patch, lambda patch: None)
        assert last.returncode == 0, last.stdout[-3000:] + last.stderr[-3000:]
        _DONE[key] = place
    return sessions.reads(_DONE[key])


def _run(
    sessions: Sessions,
    commands: tuple[tuple[str, ...], ...],
    place: Path,
    patch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
) -> subprocess.CompletedProcess[str]:
    for part in ("experiments", "configs"):
        (place / part).symlink_to(ROOT / part)
    (place / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    if sessions.before is not None:
        sessions.before(place)
    plant(patch)
    threads = torch.get_num_threads()
    for number, arguments in enumerate(commands):
        if number == 1 and sessions.between is not None:
            sessions.between(patch, place)
        last = run_here([*OPTIONS, *(one.format(place=place) for one in arguments)], place)
        torch.set_num_threads(threads)
    return last


def newest(place: Path) -> Path:
    """The directory of the newest experiment."""
    return max(place.glob("results/*/*/experiment.json"), key=lambda file: file.stat().st_mtime_ns).parent


def _failures(place: Path, last: subprocess.CompletedProcess[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and messages of what failed in the last session; a usage error is one, too."""
    if last.returncode == 4:
        return ("usage error",), (last.stdout + last.stderr,)
    trouble = [line for line in last.stdout.splitlines() if "NOT written" in line]
    caught, messages = ["report"] * bool(trouble), trouble
    if last.returncode != 0:
        directory = newest(place)
        for file in sorted(directory.glob("check_*.json")):
            record = json.loads(file.read_text())
            if record["verdict"] == "fail":
                caught.append(record["name"])
                messages.append(" ".join(str(value) for value in record.values()))
        if not caught:
            caught, messages = ["session"], [*messages, last.stdout[-3000:]]
    return tuple(caught), tuple(messages)


def _change(found: float | str, correct: float | str) -> float:
    if isinstance(found, str) or isinstance(correct, str):
        return float(found != correct)
    return float(np.inf if not np.isfinite(found) else abs(found - correct) / (abs(correct) or abs(found) or 1.0))
