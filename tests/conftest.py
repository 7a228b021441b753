"""Checkpoints made once per test process, and a runner for sessions in their own process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# Before torch is imported: two workers with two threads each are slower than two with one, on matrices this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent

pytest_plugins = ["pytester"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the simulations measured (rates with their intervals, power, the matrix of faults) is said without -s."""
    for report in terminalreporter.stats.get("passed", []):
        if report.when == "call" and "tests/statistical/" in report.nodeid and report.capstdout.strip():
            terminalreporter.section(report.nodeid.split("/")[-1], sep="-")
            terminalreporter.line(report.capstdout.strip())


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real LoRA checkpoint in the seed's layout."""
    from tests import tiny

    return tiny.save_seed_checkpoint(tmp_path_factory.mktemp("run"))


def unwrapped(text: str) -> str:
    """The output of a session with each of the header's and the summary's wrapped lines in one."""
    return re.sub(r"\n {4,}(?=\S)", " ", text)


@dataclass
class Workspace:
    """A directory with the repository's experiments in it, prompts and a reward; runs pytest there."""

    path: Path
    checkpoint: Path

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def small(self) -> list[str]:
        """Options that make every experiment small and fit for a random model; sizes come with the kind."""
        return [
            f"--checkpoint={self.checkpoint}",
            "--prompts=prompts.jsonl",
            "--reward=rewards.py:length",
            "--bu=4",
            "--entropy-set=batch_config.G=3",
            "--entropy-set=sampling.max_new_tokens=6",
        ]

    @property
    def scaling(self) -> list[str]:
        """The batch-scaling experiment, small."""
        return ["experiments/test_batch_scaling.py", *self.small, "--be-values=4,8", "--runs=2"]

    @property
    def single(self) -> list[str]:
        """The single run, small."""
        return ["experiments/test_single_run.py", *self.small, "--be=6"]

    @property
    def everything(self) -> list[str]:
        """All four experiments, small."""
        return ["experiments", *self.small, "--be-values=4,8", "--be=6", "--runs=2"]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", "-c", "pytest.ini", *arguments]

    def refused(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The session in this process, ten times as fast: for what is refused before any work."""
        from tests.in_process import run_here

        return run_here(["--rootdir=.", "-c", "pytest.ini", *arguments], self.path)

    def environment(self) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "GITHUB"))}
        return {**keep, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def deltas(self) -> dict[str, float]:
        """delta_h1 by run directory, over all experiments."""
        return {
            f"{file.parents[2].name}/{file.parent.name}": json.loads(file.read_text())["delta_h1"]
            for file in sorted(self.results.rglob("results.json"))
        }


@pytest.fixture
def workspace(tmp_path: Path, checkpoint: Path) -> Workspace:
    """The experiments as a user has them: own directory, own prompts, own reward."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    rows = [{"prompt": f"Tom has {i} apples and buys {i % 7} more.", "answer": str(i + i % 7)} for i in range(60)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rewards.py").write_text(
        "def length(prompts, completions, **columns):\n    return [len(text) / 40 for text in completions]\n"
    )
    return Workspace(tmp_path, checkpoint)
