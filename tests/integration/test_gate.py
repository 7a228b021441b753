"""The regression gate in whole sessions: what it is compared with, what it says, what a missing baseline means."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import jsonschema
import pytest

from pytest_entropy.records.schemas import FOLDER
from tests.conftest import Workspace

# Every prompt's scalars and the update half as large again: what a factor in the update would do.
SCALED = (
    "from pytest_entropy.probe import EntropyProbe\n"
    "from dataclasses import replace\n"
    "real = EntropyProbe.update\n"
    "def update(self, seed):\n"
    "    found = real(self, seed)\n"
    "    return replace(found, direction={name: 1.5 * u for name, u in found.direction.items()})\n"
    "EntropyProbe.update = update\n"
)


@pytest.fixture
def scaling() -> list[str]:
    """On the demo checkpoint, whose update moves the entropy: half as much again can be seen in 96 prompts."""
    return ["experiments/test_batch_scaling.py", "--be-values=16,32", "--runs=2"]


@pytest.mark.slow
def test_save_compare_and_catch_a_factor(workspace: Workspace, scaling: list[str]) -> None:
    done = workspace.run(*scaling, "--entropy-save=main")
    assert done.returncode == 0, done.stdout
    assert "baseline saved: " in done.stdout
    baseline = json.loads((workspace.results / "baselines" / "main.json").read_text())
    assert list(baseline["experiments"]) == ["batch_scaling"]

    same = workspace.run(*scaling, "--entropy-compare=main", "-n2", "--junitxml=same.xml")
    assert same.returncode == 0, same.stdout
    assert "against the baseline: delta_h1: unchanged, by 0" in same.stdout
    names = [case.get("name") for case in ET.parse(workspace.path / "same.xml").iter("testcase")]
    assert names.count("against_baseline") == 1

    (workspace.path / "conftest.py").write_text(SCALED)
    changed = workspace.run(*scaling, "--entropy-compare=main", "--entropy-save=bad")
    assert changed.returncode == 1, changed.stdout
    assert "compare_delta_h1: fail" in changed.stdout
    assert "CHANGED" in changed.stdout
    assert "baseline bad NOT saved: the session was not green" in changed.stdout
    assert not (workspace.results / "baselines" / "bad.json").exists()
    newest = max((workspace.results / "batch_scaling").iterdir())
    assert "Against the baseline main" in (newest / "report.html").read_text()
    assert json.loads((newest / "summary.json").read_text())["comparison"]["baseline"] == "main"
    for name, many in {"results": 4, "comparison": 1, "summary": 1}.items():
        schema = json.loads((FOLDER / f"{name}-1.json").read_text())
        files = list(newest.rglob(f"{name}.json"))
        assert len(files) == many, name
        for file in files:
            jsonschema.validate(json.loads(file.read_text()), schema)

    # The planted factor is red by itself: the bookkeeping sees a direction other than the recorded one.
    (workspace.path / "conftest.py").unlink()
    refused = workspace.run(*scaling, "--entropy-compare=main", "--entropy-seed=5")
    assert refused.returncode == 4, refused.stdout
    assert "measured something else (seed 0, now 5)" in refused.stdout + refused.stderr
    anyway = workspace.run(*scaling, "--entropy-compare=main", "--entropy-seed=5", "--entropy-compare-anyway")
    assert anyway.returncode == 0
    assert "no run in common" in in_one_line(anyway.stdout)


def in_one_line(output: str) -> str:
    return " ".join(output.split())


@pytest.mark.slow
def test_a_fresh_repository_is_not_green_silently(workspace: Workspace) -> None:
    # Six prompts cannot decide how far first order holds, which the last session would count as a failure.
    single = [*workspace.single, "--entropy-set=eta_sweep.multiples=[]", "--entropy-compare=main"]
    failed = workspace.run(*single)
    assert failed.returncode == 4, failed.stdout
    assert "no baseline 'main' to compare with" in failed.stderr
    assert not workspace.results.exists()
    skipped = workspace.run(*single, "--entropy-missing=skip")
    assert skipped.returncode == 0
    assert "NOT COMPARED: no baseline 'main' of single_run" in in_one_line(skipped.stdout)
    assert not (workspace.results / "baselines").exists()
    created = workspace.run(*single, "--entropy-missing=create")
    assert created.returncode == 0
    assert "NOT COMPARED" in created.stdout
    assert "baseline created: " in created.stdout
    compared = workspace.run(*single, "--entropy-inconclusive=fail", "--entropy-compare-fail=delta_h1~1%")
    assert compared.returncode == 0, compared.stdout
    assert "unchanged" in compared.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--entropy-compare=main", "--entropy-compare-fail=loss:5%"], "unknown quantity 'loss'"),
        (["--entropy-compare-fail=delta_h1:5%"], "does nothing without --entropy-compare"),
        (["--entropy-compare=broken.json"], "is not a baseline"),
    ],
)
def test_bad_gates_are_refused_before_any_work(workspace: Workspace, options: list[str], message: str) -> None:
    (workspace.path / "broken.json").write_text("{")
    done = workspace.refused(*workspace.single, *options)
    assert done.returncode == 4, done.stdout
    assert message in done.stdout + done.stderr
    assert not workspace.results.exists()


@pytest.mark.slow
def test_the_marker_sets_the_tolerance(workspace: Workspace) -> None:
    (workspace.path / "test_own.py").write_text(
        "import pytest\n"
        "pytestmark = [pytest.mark.entropy_experiment('own'), pytest.mark.entropy_tolerance('delta_h1:90%')]\n"
        "def test_run(probe_run):\n"
        "    assert probe_run.B_E == 8\n"
    )
    arguments = ["test_own.py", *workspace.small, "--be-values=8", "--runs=2"]
    assert workspace.run(*arguments, "--entropy-save=main").returncode == 0
    (workspace.path / "conftest.py").write_text(SCALED)
    done = workspace.run(*arguments, "--entropy-compare=main")
    assert done.returncode == 0, done.stdout
    assert "rule delta_h1:90%" in in_one_line(done.stdout)
