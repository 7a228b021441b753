"""The lines on the terminal while a phase is computed, and that a real session with a slow reward prints them."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_entropy.plugin.phase_lines import PhaseLines
from pytest_entropy.runs.progress_file import Working

if TYPE_CHECKING:
    from tests.conftest import Workspace

SLOW = """
import time

def slow(prompts, completions, **columns):
    time.sleep(14)
    return length(prompts, completions)
"""
DERIVATIVES = Working("gw1", "BE008_run003", "derivatives", 4096, 1, 1024, 0.0)


def ago(seconds: float, **more: object) -> Working:
    return replace(DERIVATIVES, started=time.time() - seconds, **more)  # type: ignore[arg-type]


def test_on_a_terminal_every_process_is_told_of_at_intervals() -> None:
    lines = PhaseLines(io.StringIO(), [], live=True, every=0.0)
    line = lines.line([ago(20), ago(200, worker="", phase="total_variance", passes=None, done=9000)])
    assert line == (
        "entropy: gw1 BE008_run003 derivatives: 1,024 of 4,096 tokens, about 60 s left; "
        "BE008_run003 total variance: 9,000 tokens in passes over 4,096, 3 min so far"
    )
    assert lines.line([]) == ""
    assert PhaseLines(io.StringIO(), [], live=True, every=3600.0).line([ago(20)]) == ""


def test_elsewhere_a_long_phase_gets_one_line() -> None:
    lines = PhaseLines(io.StringIO(), [], live=False)
    long, short = ago(40), ago(5, worker="gw2")
    assert lines.line([short]) == ""
    assert lines.line([long, short]).startswith("entropy: gw1 BE008_run003 derivatives: ")
    assert lines.line([long, short]) == ""
    assert "gw2" in lines.line([long, replace(short, started=short.started - 30)])


@pytest.mark.slow
@pytest.mark.parametrize("how", [["-v"], ["-v", "-n1"], ["-q"]], ids=["alone", "worker", "quiet"])
def test_a_session_with_a_slow_reward_says_what_it_is_waiting_for(workspace: Workspace, how: list[str]) -> None:
    with (workspace.path / "rewards.py").open("a") as rewards:
        rewards.write(SLOW)
    small = [option.replace("rewards.py:length", "rewards.py:slow") for option in workspace.small]
    done = workspace.run("experiments/test_single_run.py", "--be=4", *small, *how)
    assert done.returncode == 0, done.stdout
    told = [line for line in done.stdout.splitlines() if line.startswith("entropy: ") and "reward: " in line]
    worker = "gw0 " if "-n1" in how else ""
    assert bool(told) is ("-v" in how)
    assert all(line.startswith(f"entropy: {worker}update reward: ") for line in told)
    left = [name for _, _, names in os.walk(workspace.results) for name in names if name.endswith(".progress")]
    assert left == []
