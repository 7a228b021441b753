"""A sanity check at each depth, as a session: what it computes and says, and what another depth resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pytest_entropy.settings.diagnostics import CHECKED
from tests.conftest import Workspace, unwrapped

SANITY = ("experiments/test_sanity_check.py", "--be=6", "--runs=7")
LIGHT = "--entropy-set=checks.depth=light"


def asked(workspace: Workspace) -> dict[str, dict[str, list[str]]]:
    """The diagnostics that each run was asked for, by experiment directory and run directory."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted(workspace.results.rglob("results.json")):
        found.setdefault(file.parent.parent.name, {})[file.parent.name] = json.loads(file.read_text())["asked"]
    return found


@pytest.mark.slow
def test_a_light_session_computes_what_it_says_and_another_depth_begins_anew(workspace: Workspace) -> None:
    done = workspace.run(*SANITY, *workspace.small, LIGHT, "-n0")
    assert done.returncode == 0, done.stdout
    assert "depth light (diagnostics in 1 of 7 runs)" in unwrapped(done.stdout)
    assert "1 of them with diagnostics" in " ".join(done.stdout.split())
    ((directory, runs),) = asked(workspace).items()
    assert [bool(names) for names in runs.values()] == [True, *[False] * 6]
    assert set(runs["run001"]) == {*CHECKED, "total_variance"}
    root: Path = workspace.results / "sanity_check" / directory
    assert yaml.safe_load((root / "run002" / "config.yaml").read_text())["checks"]["depth"] == "light"
    page = (root / "report.html").read_text()
    assert "checks.depth" in page
    summary = json.loads((root / "validation_summary.json").read_text())
    assert (summary["runs_succeeded"], summary["runs_with_diagnostics"]) == (7, 1)
    before = workspace.deltas()

    again = workspace.run(*SANITY, *workspace.small, LIGHT, "--resume", "-n0")
    assert again.returncode == 0, again.stdout
    assert "resumed" in again.stdout
    assert workspace.deltas() == before

    full = workspace.run(*SANITY, *workspace.small, "--resume", "-n0")
    assert full.returncode == 0, full.stdout
    assert f"not resumed: {directory} was measured at another checks.depth, now full" in unwrapped(full.stdout)
    (other,) = set(asked(workspace)) - {directory}
    assert all(set(names) - {"total_variance"} == set(CHECKED) for names in asked(workspace)[other].values())


def test_the_plan_of_a_small_model_is_full_and_that_of_debug_always(workspace: Workspace) -> None:
    done = workspace.refused(*SANITY, *workspace.small, "--collect-only")
    assert ", depth full" in done.stdout
    light = workspace.refused("experiments/test_debug.py", *workspace.small, LIGHT, "--collect-only")
    assert light.returncode == 0
    assert "depth" not in light.stdout
