"""The regression gate in whole sessions: what it is compared with, what it says, what a missing baseline means."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import jsonschema
import pytest

from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.schemas import FOLDER
from pytest_entropy.reports.gate_reason import gate_reason
from tests.conftest import Workspace, unwrapped

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
    assert "against the baseline: δH₁ unchanged: " in same.stdout
    names = [case.get("name") for case in ET.parse(workspace.path / "same.xml").iter("testcase")]
    assert names.count("against_baseline") == 1

    (workspace.path / "conftest.py").write_text(SCALED)
    changed = workspace.run(*scaling, "--entropy-compare=main", "--entropy-save=bad", "--junitxml=changed.xml")
    assert changed.returncode == 1, changed.stdout
    assert "CHANGED: δH₁ -0.0" in changed.stdout
    assert "baseline bad NOT saved: the session was not green" in changed.stdout
    assert not (workspace.results / "baselines" / "bad.json").exists()
    newest = max((workspace.results / "batch_scaling").iterdir())
    # In four places alike.
    reason = gate_reason(Comparison.from_dict(json.loads((newest / "comparison.json").read_text())))
    assert re.match(
        r"δH₁ -0\.0\d+ → -0\.0\d+ nats/response \(\+50 %, CI \+\d+ % … \+\d+ %; allowed ± 5 %\); likely causes: "
        r"same checkpoint and settings: the code changed; look at the update direction or the estimator: ", reason
    )  # fmt: skip
    assert f"CHANGED: {in_one_line(reason)}" in in_one_line(changed.stdout)
    (case,) = [case for case in ET.parse(workspace.path / "changed.xml").iter("testcase")
               if case.get("name") == "against_baseline"]  # fmt: skip
    (failure,) = case.findall("failure")
    assert failure.get("message") == failure.text == reason
    properties = ET.parse(workspace.path / "changed.xml").iter("property")
    reasons = [one.get("value") for one in properties if str(one.get("name")).endswith("baseline::entropy_reason")]
    assert reasons == [reason]
    for name in ("summary.md", "report.html"):
        assert reason in (newest / name).read_text(), name
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
    words = "INCONCLUSIVE against_baseline: δH₁ and entropy and signal_to_noise: no run in common: take the same "
    assert in_one_line(anyway.stdout).count(words) == 1
    assert "; likely causes: seed 0 → 5; " in in_one_line(anyway.stdout)


def in_one_line(output: str) -> str:
    return " ".join(output.split())


@pytest.mark.slow
def test_a_fresh_repository_is_not_green_silently(workspace: Workspace) -> None:
    # Six prompts decide neither how far first order holds nor delta_h1; the last session counts that as a failure.
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
    strict = ["--entropy-inconclusive=fail", "--entropy-compare-fail=delta_h1~1%", "-k", "not precision"]
    compared = workspace.run(*single, *strict)
    assert compared.returncode == 0, compared.stdout
    assert "unchanged" in compared.stdout


SWALLOWED = (
    "--entropy-compare took the tests' path {path} for a baseline's name: write --entropy-compare= {path} to compare "
    "with the newest baseline, or put --entropy-compare last"
)
NO_BASELINE = "--entropy-compare names no baseline, and "


@pytest.mark.parametrize("path", ["experiments/", "experiments/test_single_run.py", "experiments/test_debug.py::test"])
def test_a_path_after_the_option_is_not_taken_for_a_name(workspace: Workspace, path: str) -> None:
    sizes = [*workspace.small, "--be=6", "--be-values=4,8"]
    refused = workspace.refused(*sizes, "--entropy-compare", path)
    assert refused.returncode == 4, refused.stdout
    assert SWALLOWED.format(path=path) in refused.stdout + refused.stderr
    # Before the option, or with an equals sign, it is a path: now the newest baseline is looked for.
    for order in ([path, "--entropy-compare"], ["--entropy-compare=", path]):
        if "::" not in path:
            there = workspace.refused(*sizes, *order)
            assert there.returncode == 4, there.stdout
            assert f"{NO_BASELINE}{workspace.results / 'baselines'} holds none" in there.stdout + there.stderr
    assert not workspace.results.exists()


@pytest.mark.slow
def test_without_a_name_the_newest_baseline_is_compared_with(workspace: Workspace) -> None:
    single = [*workspace.single, "--entropy-set=eta_sweep.multiples=[]"]
    assert workspace.run(*single, "--entropy-save=older").returncode == 0
    assert workspace.run(*single, "--entropy-save=newer", "--entropy-seed=1").returncode == 0
    newer = workspace.results / "baselines" / "newer.json"
    line = f"entropy: compared with the newest baseline, newer ({newer})"
    for more in ([], ["-n1"]):
        done = workspace.run(*single, "--entropy-seed=1", "--entropy-compare", *more)
        assert done.returncode == 0, done.stdout
        assert unwrapped(done.stdout).count(line) == 1
        assert "against the baseline: δH₁ unchanged: " in in_one_line(done.stdout)
    comparison = max(workspace.results.rglob("comparison.json"), key=lambda file: file.stat().st_mtime_ns)
    assert json.loads(comparison.read_text())["baseline"] == "newer"
    named = workspace.run(*single, "--entropy-compare", "older")
    assert named.returncode == 0, named.stdout
    assert "the newest baseline" not in named.stdout


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
    assert "allowed ± 90 %)" in in_one_line(done.stdout)
