"""Sessions in which tests are executed again: what failed is computed again, with the numbers of a first time."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Workspace

# A judge that answers from the call on that the environment says, as one behind a busy endpoint does.
JUDGE = """
import os


def judge(prompts, completions, **columns):
    with open("calls", "a") as stream:
        stream.write("x")
    if os.path.getsize("calls") <= int(os.environ.get("JUDGE_FAILS", "1")):
        raise ConnectionError(f"503 Service Unavailable, call {os.path.getsize('calls')}")
    return [len(text) / 40 for text in completions]
"""
# A run of the batch-scaling experiment that fails the first time that any process computes it.
ONCE = """
import os
from pytest_entropy.probe import EntropyProbe

real = EntropyProbe.run


def run(self, B_E, seed=0, **more):
    if B_E == 8 and more["run"] == 1 and not os.path.exists("failed once"):
        open("failed once", "w").close()
        {how}
    return real(self, B_E, seed, **more)


EntropyProbe.run = run
"""
MEMORY = "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')"
FILES = "raise OSError(116, 'Stale file handle')"
KILLED = "os.kill(os.getpid(), 9)"
TIMES = ("seconds", "memory_mb", "peak_memory_mb")
FIRST = "experiments.test_single_run::test_run[BE006-run001]"


def records(results: Path) -> dict[str, Any]:
    """All runs and updates in a results directory without times and memory, by directory."""
    files = [*results.glob("*/*/*/results.json"), *results.glob("*/*/*/update.json")]
    return {file.parent.name: without_times(json.loads(file.read_text())) for file in sorted(files)}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def undisturbed(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    """The records of a session that never failed."""
    done = workspace.run(*arguments, "-n0", "--entropy-results=undisturbed")
    assert done.returncode == 0, done.stdout + done.stderr
    return records(workspace.path / "undisturbed")


@pytest.fixture
def judged(workspace: Workspace) -> list[str]:
    """The single run with the judge."""
    with (workspace.path / "rewards.py").open("a") as stream:
        stream.write(JUDGE)
    return [argument.replace("rewards.py:length", "rewards.py:judge") for argument in workspace.single]


def test_a_judge_that_fails_once_is_asked_again_and_each_report_says_so(
    workspace: Workspace, judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = workspace.run(*judged, "-n0", "--reruns=2", "--junitxml=junit.xml", "-o", "junit_family=xunit2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed, 2 skipped, 1 rerun" in done.stdout
    said = " ".join(done.stdout.split())
    assert "executed again: test_run[BE006-run001] (2 attempts)" in said
    assert "computed again after a failure: BE006_BU4 (2 attempts), update (2 attempts)" in said
    assert "the update batch failed" not in said
    (directory,) = (workspace.results / "single_run").iterdir()
    assert "503 Service Unavailable, call 1" in (directory / "update" / "error_1.txt").read_text()
    assert not list(directory.rglob("error.txt"))
    assert not (directory / "failed_items.json").exists()
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["attempts"] == {"BE006_BU4": 2, "update": 2}
    assert (summary["failed_runs"], summary["missing_runs"]) == ([], [])
    assert "update: 2 attempts" in (directory / "report.html").read_text()
    named = [(one.get("name"), one.get("value")) for one in ET.parse(workspace.path / "junit.xml").iter("property")]
    assert (f"{FIRST}::attempts", "2") in named
    assert len([name for name, _ in named if name == f"{FIRST}::B_E"]) == 1
    monkeypatch.setenv("JUDGE_FAILS", "0")
    assert records(workspace.results) == undisturbed(workspace, *judged)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_judge_that_never_answers_is_asked_once_per_attempt_however_many_items_need_it(
    workspace: Workspace, judged: list[str], monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("JUDGE_FAILS", "1000")
    scaling = ["experiments/test_batch_scaling.py", *judged[1:-1], "--be-values=4,8", "--runs=2"]
    done = workspace.run(*scaling, workers, "--reruns=2", "--junitxml=junit.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "7 failed, 14 rerun" in done.stdout
    assert (workspace.path / "calls").read_text() == "xxx"
    assert done.stdout.count("503 Service Unavailable, call 3") >= 1
    (directory,) = (workspace.results / "batch_scaling").iterdir()
    errors = [(directory / "update" / name).read_text() for name in ("error_1.txt", "error_2.txt", "error.txt")]
    assert [f"call {n}" in text for n, text in enumerate(errors, start=1)] == [True] * 3
    assert len(json.loads((directory / "failed_items.json").read_text())["items"]) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "options"),
    [
        (MEMORY, ["-n0", "--reruns=1", "-x"]),
        (FILES, ["-n2", "--reruns=2", "--dist=loadgroup", "--only-rerun=Stale file handle", "--only-rerun=needs the"]),
        (KILLED, ["-n2", "--reruns=2"]),
    ],
    ids=["out of memory", "file system", "killed worker"],
)
def test_a_run_that_fails_once_has_the_numbers_of_one_that_never_did(
    workspace: Workspace, how: str, options: list[str]
) -> None:
    expected = undisturbed(workspace, *workspace.scaling)
    (workspace.path / "conftest.py").write_text(ONCE.format(how=how))
    done = workspace.run(*workspace.scaling, *options, "--junitxml=junit.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(workspace.results) == expected
    (evidence,) = workspace.results.glob("*/*/BE008_run001/error_1.txt")
    named = {MEMORY: "CUDA out of memory", FILES: "Stale file handle", KILLED: "was killed"}
    assert named[how] in evidence.read_text()
    assert "computed again after a failure: BE008_run001 (2 attempts)" in " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["anew", "resumed"])
def test_the_last_failures_are_computed_again_in_a_later_session(workspace: Workspace, resume: list[str]) -> None:
    expected = undisturbed(workspace, *workspace.scaling)
    (workspace.path / "conftest.py").write_text(ONCE.format(how=FILES))
    # The cache of failures, which is off in other sessions here, is what --lf reads.
    cached = [*workspace.scaling, "-n0", "-p", "cacheprovider"]
    assert workspace.run(*cached).returncode == 1
    done = workspace.run(*cached, "--lf", *resume)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 deselected" in done.stdout
    kept = list(workspace.results.glob("*/*/BE008_run001/error_1.txt"))
    assert [("Stale file handle" in file.read_text()) for file in kept] == [True] * len(resume)
    assert records(workspace.results) == expected


REJECTED = """
import pytest
from pytest_entropy.stats import check_mean_zero

pytestmark = pytest.mark.entropy_experiment("mine")


def test_run(probe_run):
    assert probe_run.delta_h1


@pytest.mark.entropy_check
def test_of_runs(probe_runs, experiment):
    scalars = [s + 1e6 for run in probe_runs.complete() for s in run.per_prompt]
    judge(experiment, scalars, "of_runs")


@pytest.mark.entropy_check
def test_of_draws(probe_runs, experiment):
    judge(experiment, experiment.rng("x").normal(1.0, 1.0, 64), "of_draws")


def judge(experiment, x, name):
    print(f"{name}: {x[0]!r}")
    outcome = check_mean_zero(
        x, alpha=experiment.alpha, name=name, null="a mean is 0", unit="nats", likely_causes="planted"
    )
    experiment.require(outcome)
"""


def test_a_check_that_rejects_has_no_second_chance(workspace: Workspace) -> None:
    """Its numbers are a function of the seed, and its runs are stored: a rerun judges the same ones."""
    (workspace.path / "test_mine.py").write_text(REJECTED)
    done = workspace.run("test_mine.py", *workspace.small, "--be-values=32", "--runs=1", "-n0", "--reruns=2", "-rP")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed, 4 rerun" in done.stdout
    for name in ("of_runs", "of_draws"):
        seen = [line for line in done.stdout.splitlines() if line.startswith(f"{name}: ")]
        assert len(set(seen)) == 1, seen
        assert f"test_{name} (3 attempts)" in " ".join(done.stdout.split())
    (directory,) = (workspace.results / "mine").iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert (summary["tone"], summary["attempts"]) == ("fail", {})


def test_a_copy_of_an_item_computes_what_the_first_could_not(workspace: Workspace, judged: list[str]) -> None:
    done = workspace.run(*judged, "-n0", "--count=2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 3 passed, 4 skipped" in done.stdout
    assert "failed: test_run[BE006-run001-1-2]" in done.stdout
    assert len(workspace.deltas()) == 1
