"""Sessions that take runs until the error of their mean reaches a target, on the bundled demo checkpoint."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Workspace, unwrapped

# Prompts of the demo, and a reward that differs within groups however short the responses are.
PILOT = 4


def single(workspace: Workspace, results: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Single runs of 64 short prompts on the demo."""
    arguments = ["experiments/test_single_run.py", "--be=64", "--bu=8", "--entropy-set=batch_config.G=4"]
    arguments += [
        "--entropy-set=sampling.max_new_tokens=8",
        "--reward=rewards.py:length",
        f"--entropy-results={results}",
    ]
    return workspace.run(*arguments, *options)


def stored(root: Path) -> tuple[Path, dict[str, float], dict[str, Any]]:
    """The experiment's directory, delta_h1 by run, and the record of the target."""
    (directory,) = (root / "single_run").iterdir()
    deltas = {
        file.parent.name: json.loads(file.read_text())["delta_h1"] for file in sorted(directory.glob("*/results.json"))
    }
    return directory, deltas, json.loads((directory / "target_error.json").read_text())


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds_per_run"}


@pytest.fixture
def target(workspace: Workspace) -> str:
    """A target that takes 6 of 12 runs, by the error that the pilot has."""
    done = single(workspace, "pilot", "--runs=5", "--entropy-target-se=1e9")
    assert done.returncode == 0, done.stdout + done.stderr
    _, deltas, record = stored(workspace.path / "pilot")
    assert len(deltas) == record["runs"] == PILOT
    assert record["reached"]
    return f"{record['se'] * (PILOT / 5.7) ** 0.5:.6g}"


@pytest.mark.slow
def test_the_same_runs_are_taken_by_any_number_of_workers_and_again_from_the_store(
    workspace: Workspace, target: str
) -> None:
    told = re.compile(r"entropy: pilot of 256 prompts: error \S+ of \S+ asked for; about 6 runs of 64 prompts")
    found = {}
    for label, options in {"alone": ["-n0"], "two": ["-n2"]}.items():
        arguments = ["--runs=12", f"--entropy-target-se={target}", "-rs", f"--junitxml={label}.xml"]
        done = single(workspace, label, *arguments, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(told.findall(done.stdout)) == 1, done.stdout
        header = "B_E 64 x at most 12 runs, until the error is"
        assert header in " ".join(unwrapped(done.stdout).split())
        directory, deltas, record = stored(workspace.path / label)
        taken = len(deltas)
        assert PILOT < taken < 12
        assert f"after {taken} runs is within --entropy-target-se {target}" in done.stdout
        assert f"target reached: error {record['se']:.3g} after {taken} of at most 12 runs" in done.stdout
        assert "REPORTED OTHERWISE" not in done.stdout + done.stderr
        summary = json.loads((directory / "summary.json").read_text())
        assert summary["missing_runs"] == []
        assert "INCOMPLETE" not in summary["headline"]
        verdicts = {check["name"]: check["verdict"] for check in summary["checks"]}
        assert verdicts["target_error"] == "pass"
        analysis = json.loads((directory / "single_test_results.json").read_text())
        assert analysis["target"]["reached"]
        assert analysis["target"]["allowed"] == record["allowed"] == float(target)
        assert len(analysis["results"]) == taken
        assert analysis["mean"]["se_conditional"] == pytest.approx(record["se"])
        cases = [
            case for case in ET.parse(workspace.path / f"{label}.xml").iter("testcase") if "run[" in str(case.attrib)
        ]
        skipped = [str(part.get("message")) for case in cases for part in case.iter("skipped")]
        assert len(cases) == 12
        assert len(skipped) == 12 - taken
        assert all(message.startswith("not needed: the error ") for message in skipped)
        found[label] = deltas, without_times(record)
        sweeps = [
            name
            for name in deltas
            if "eta_sweep" in json.loads((directory / name / "results.json").read_text())["asked"]
        ]
        assert sweeps == ["BE064_run001"]
    assert found["alone"] == found["two"]
    again = single(workspace, "alone", "--runs=12", f"--entropy-target-se={target}", "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "at most" in again.stdout
    assert "pilot of" not in again.stdout
    _, deltas, record = stored(workspace.path / "alone")
    assert (deltas, without_times(record)) == found["alone"]
    log = (directory / f"BE064_run{taken:03d}" / "probe_log.txt").read_text()
    assert "pilot of 256 prompts" in log


@pytest.mark.slow
def test_a_target_out_of_reach_is_inconclusive_and_more_runs_go_on_from_the_stored_ones(
    workspace: Workspace, target: str
) -> None:
    done = single(workspace, "out", "--runs=5", f"--entropy-target-se={target}", "--entropy-inconclusive=fail")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "5 are taken: give --runs 6" in done.stdout
    assert re.search(r"because: the error for this update batch is \S+ after 5 runs, above .*: --runs 6", done.stdout)
    directory, deltas, record = stored(workspace.path / "out")
    assert (len(deltas), record["reached"], record["not_needed"]) == (5, False, [])
    more = single(workspace, "out", "--runs=9", f"--entropy-target-se={target}", "--resume", "-rA")
    assert more.returncode == 0, more.stdout + more.stderr
    assert "REPORTED OTHERWISE" not in more.stdout + more.stderr
    same, after, record = stored(workspace.path / "out")
    assert same == directory
    assert deltas.items() <= after.items()
    assert record["reached"]
    assert 5 < len(after) == record["runs"] < 9
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["missing_runs"] == []


@pytest.mark.slow
def test_fewer_runs_than_are_stored_are_refused(workspace: Workspace, target: str) -> None:
    """Reports are of all stored runs, and the mean would be of some."""
    assert single(workspace, "fewer", "--runs=6", "--entropy-target-se=1e-12").returncode == 0
    directory, deltas, _ = stored(workspace.path / "fewer")
    again = single(workspace, "fewer", "--runs=5", "--entropy-target-se=1e-12", "--resume")
    assert again.returncode == 4
    assert f"{directory.name} holds 6 runs of single_run, and --runs allows 5" in again.stdout + again.stderr
    assert "give --runs 6 or more" in again.stdout + again.stderr
    assert stored(workspace.path / "fewer")[:2] == (directory, deltas)
