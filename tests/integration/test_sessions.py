"""Whole sessions in their own processes: same results however they are run, whatever is killed."""

from __future__ import annotations

import os
import signal
import time
import xml.etree.ElementTree as ET

import pytest

from tests.conftest import Workspace, unwrapped
from tests.present import present


@pytest.mark.slow
def test_results_and_ids_are_the_same_with_any_number_of_workers(workspace: Workspace) -> None:
    deltas, xml = {}, {}
    for label, options in {
        "alone": ["-n0"],
        "two": ["-n2"],
        "no xdist": ["-p", "no:xdist", "--entropy-threads=1"],
    }.items():
        done = workspace.run(*workspace.everything, *options, f"--entropy-results={label}", *junit(label))
        assert done.returncode == 0, done.stdout + done.stderr
        moved = workspace.path / label
        workspace.results.unlink(missing_ok=True)
        workspace.results.symlink_to(moved)
        deltas[label] = workspace.deltas()
        cases = ET.parse(workspace.path / f"{label}.xml").iter("testcase")
        xml[label] = {
            f"{case.get('classname')}::{case.get('name')}": {
                p.get("name"): p.get("value") for p in case.iter("property")
            }
            for case in cases
        }
    assert len(deltas["alone"]) == 4 + 2 + 1 + 2 + 4
    assert deltas["alone"] == deltas["two"] == deltas["no xdist"]
    assert set(xml["alone"]) == set(xml["two"]) == set(xml["no xdist"])
    for table in xml.values():
        run = table["experiments.test_batch_scaling::test_run[BE008-run002]"]
        assert float(present(run["delta_h1"])) == deltas["alone"]["batch_scaling/BE008_run002"]
        assert float(present(run["se_conditional"])) > 0


def junit(label: str) -> tuple[str, ...]:
    """Properties stand in their test case; under xunit2, whose schema forbids it, in the suite (test_reports.py)."""
    return f"--junitxml={label}.xml", "-o", "junit_family=xunit1"


def test_collection_loads_no_model_and_writes_nothing(workspace: Workspace) -> None:
    done = workspace.run(*workspace.everything, "--collect-only", "-q", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout
    assert "test_batch_scaling.py::test_run[BE004-run001]" in done.stdout
    assert "test_single_run.py::test_run[BE006-run001]" in done.stdout
    assert not workspace.results.exists()
    spy = (
        "import sys\ndef pytest_sessionfinish():\n"
        "    assert not {'torch', 'scipy.stats', 'matplotlib'} & set(sys.modules)\n"
        "    print('TORCH-FREE')\n"
    )
    (workspace.path / "conftest.py").write_text(spy)
    done = workspace.run(*workspace.everything, "--collect-only", "-q", "-s")
    assert "TORCH-FREE" in done.stdout


@pytest.mark.slow
def test_a_killed_session_resumes_with_only_the_missing_runs(workspace: Workspace) -> None:
    arguments = [*workspace.scaling[:-1], "--runs=6", "-v"]
    session = workspace.start(*arguments, "-n2")
    deadline = time.monotonic() + 120
    while len(workspace.deltas()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(session.pid, signal.SIGKILL)
    session.communicate()
    before = {file: file.stat().st_mtime_ns for file in workspace.results.rglob("results.json")}
    assert 3 <= len(before) < 12
    done = workspace.run(*arguments, "--resume")
    assert done.returncode == 0, done.stdout
    assert "resumed" in done.stdout
    assert done.stdout.count("from the store") >= len(before)
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in before.items())
    resumed = workspace.deltas()
    assert len(list((workspace.results / "batch_scaling").iterdir())) == 1
    assert not [p for p in workspace.results.rglob("*") if "partial" in p.name]
    undisturbed = workspace.run(*arguments, "--entropy-results=fresh")
    assert undisturbed.returncode == 0
    workspace.results.rename(workspace.path / "old")
    (workspace.path / "fresh").rename(workspace.results)
    assert resumed == workspace.deltas()


@pytest.mark.slow
def test_a_killed_worker_loses_its_item_only(workspace: Workspace) -> None:
    (workspace.path / "test_killer.py").write_text(
        "import os, signal, pytest\n"
        "pytestmark = pytest.mark.entropy_experiment('killer')\n"
        "def test_run(probe_run):\n"
        "    if (probe_run.B_E, probe_run.run) == (4, 2):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = workspace.run("test_killer.py", *workspace.scaling[1:], "-n2")
    assert done.returncode == 1, done.stdout
    assert "crashed while running 'test_killer.py::test_run[BE004-run002]'" in done.stdout
    assert "3 passed" in done.stdout
    assert len(workspace.deltas()) == 4


@pytest.mark.slow
def test_a_failed_run_fails_its_item_keeps_its_evidence_and_stops_nothing(workspace: Workspace) -> None:
    (workspace.path / "conftest.py").write_text(
        "import pytest\n"
        "from pytest_entropy.probe import EntropyProbe\n"
        "real = EntropyProbe.run\n"
        "def run(self, B_E, seed=0, **more):\n"
        "    if B_E == 8 and more['run'] == 1:\n"
        "        raise RuntimeError('the machine caught fire')\n"
        "    return real(self, B_E, seed, **more)\n"
        "EntropyProbe.run = run\n"
    )
    done = workspace.run(*workspace.scaling)
    assert done.returncode == 1
    assert "FAILED experiments/test_batch_scaling.py::test_run[BE008-run001]" in done.stdout
    assert "the machine caught fire" in done.stdout
    (error,) = workspace.results.rglob("error.txt")
    assert error.parent.name == "BE008_run001"
    assert "the machine caught fire" in error.read_text()
    assert len(workspace.deltas()) == 3
    (workspace.path / "conftest.py").unlink()
    again = workspace.run(*workspace.scaling, "--resume")
    assert again.returncode == 0, again.stdout
    kept = f"resume: kept 3 of 4 runs of {error.parents[1].relative_to(workspace.path)}; 1 to compute\n"
    assert kept in unwrapped(again.stdout)
    assert len(workspace.deltas()) == 4
    assert not list(workspace.results.rglob("error.txt"))


@pytest.mark.slow
def test_resume_starts_afresh_when_the_prompts_have_changed(workspace: Workspace) -> None:
    assert workspace.run(*workspace.single).returncode == 0
    with (workspace.path / "prompts.jsonl").open("a") as stream:
        stream.write('{"prompt": "one more", "answer": "1"}\n')
    done = workspace.run(*workspace.single, "--resume")
    assert done.returncode == 0, done.stdout
    assert "resumed" not in done.stdout
    assert len(list((workspace.results / "single_run").iterdir())) == 2


@pytest.mark.slow
def test_two_sessions_at_once_keep_out_of_each_others_way(workspace: Workspace) -> None:
    sessions = [workspace.start(*workspace.single) for _ in range(2)]
    outputs = [session.communicate()[0] for session in sessions]
    assert [session.returncode for session in sessions] == [0, 0], outputs
    directories = list((workspace.results / "single_run").iterdir())
    assert len(directories) == 2
    assert all((d / "single_test_results.json").is_file() for d in directories)


@pytest.mark.slow
@pytest.mark.parametrize(
    "option", ["-p no:terminal", "-p no:junitxml", "-x", "--lf -p cacheprovider", "-q", "--minimal"]
)
def test_lives_with_other_options(workspace: Workspace, option: str) -> None:
    done = workspace.run(*workspace.single, *option.split())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_selection_by_k_and_an_analysis_alone(workspace: Workspace) -> None:
    done = workspace.run(*workspace.scaling, "-k", "bookkeeping")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert len(workspace.deltas()) == 4
