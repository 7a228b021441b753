"""``python -m pytest_entropy`` in its own process, on what real sessions left."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.conftest import Workspace


def command(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_entropy", *arguments],
        cwd=workspace.path, env=workspace.environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.slow
def test_the_old_scripts_command_prints_the_pytest_command_and_runs_it(workspace: Workspace) -> None:
    small = [option for option in workspace.small if not option.startswith(("--checkpoint", "--bu"))]
    checkpoint = str(workspace.checkpoint)
    done = command(workspace, "single", "--checkpoint", checkpoint, "--be", "6", "--bu", "4", "--minimal", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"pytest experiments/test_single_run.py --minimal --checkpoint={checkpoint} --be=6 --bu=4")
    assert list(workspace.deltas()) == ["single_run/BE006_BU4"]
    where = command(workspace, "where")
    assert where.returncode == 0
    assert "single_run: results/single_run/single_run_" in where.stdout
    listed = command(workspace, "list")
    assert "1/1 runs" in listed.stdout
    wrong = command(workspace, "single", "--checkpoint", checkpoint, "--be", "6", "--bu", "4", "--runs", "3", *small)
    assert wrong.returncode == 4
    assert "--runs does not apply to single_run" in wrong.stdout + wrong.stderr


@pytest.mark.slow
def test_reports_are_made_again_as_they_were_and_after_a_kill_at_session_end(workspace: Workspace) -> None:
    done = workspace.run(*workspace.single)
    assert done.returncode == 0, done.stdout
    names = ("report.html", "summary.json", "summary.md", "results.csv", "index.html")

    def files() -> dict[str, bytes]:
        found = [path for path in workspace.results.rglob("*") if path.name in names]
        return {path.relative_to(workspace.results).as_posix(): path.read_bytes() for path in found}

    before = files()
    assert {path.rpartition("/")[2] for path in before} == set(names)
    for path in before:
        (workspace.results / path).unlink()
    assert command(workspace, "report").returncode == 0
    assert files() == before

    (workspace.path / "conftest.py").write_text(
        "import os, signal\n"
        "from pytest_entropy.plugin import session_end\n"
        "session_end.render = lambda view: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = workspace.run(*workspace.single)
    assert killed.returncode == -signal.SIGKILL
    (workspace.path / "conftest.py").unlink()
    assert len(list(workspace.results.rglob("report.html"))) == 1
    again = command(workspace, "report")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("report.html") == 1
    pages = list(workspace.results.glob("sessions/*/index.html"))
    assert len(list(workspace.results.rglob("report.html"))) == len(pages) == 2
    assert (workspace.results / "index.html").is_file()


@pytest.mark.slow
def test_keep_prunes_at_session_end(workspace: Workspace) -> None:
    for _ in range(3):
        assert workspace.run(*workspace.single, "--entropy-keep=2").returncode == 0
    assert len(list((workspace.results / "single_run").iterdir())) == 2
    assert len(list((workspace.results / "sessions").iterdir())) == 2
