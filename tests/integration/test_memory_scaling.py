"""Memory scaling in sessions: what it writes, that it resumes, and that memory which grows turns it red."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Workspace

MODULE = "experiments/test_memory_scaling.py"
SIZES = ("--be-values=8,16,32", "--runs=1")
# The pieces of a batch, joined.
KEPT = (
    "from pytest_entropy.probe.derivatives import directional\n"
    "directional.scoring_chunks = lambda rollouts, tokens, **pads: [list(range(len(rollouts)))]\n"
)


@pytest.mark.slow
def test_a_session_writes_its_record_beside_batch_scalings_and_resumes(workspace: Workspace) -> None:
    done = workspace.run(MODULE, *workspace.small, *SIZES, "-n2", "--junitxml=out.xml")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    assert "flat in B_E" in done.stdout
    (directory,) = (workspace.results / "batch_scaling").iterdir()
    assert directory.name.startswith("memory_scaling_")
    record = json.loads((directory / "memory_scaling.json").read_text())
    assert [probe["axis"] for probe in record["probes"]] == ["B_E"] * 2 + ["G"] * 2 + ["length"] * 3
    assert {fit["axis"] for fit in record["fits"]} == {"B_E", "G", "length"}
    stored = [*directory.glob("*/results.json"), directory / "memory_probes" / "memory_probes.json"]
    before = {file: file.stat().st_mtime_ns for file in stored}
    (directory / "memory_scaling.json").unlink()
    again = workspace.run(MODULE, *workspace.small, *SIZES, "--resume")
    assert again.returncode == 0, again.stdout
    assert {file: file.stat().st_mtime_ns for file in stored} == before
    assert json.loads((directory / "memory_scaling.json").read_text()) == record
    assert list((workspace.results / "batch_scaling").iterdir()) == [directory]


@pytest.mark.slow
def test_batch_scaling_does_not_resume_it(workspace: Workspace) -> None:
    """The two share a category, and may have the same configuration."""
    for module in (MODULE, "experiments/test_batch_scaling.py"):
        done = workspace.run(module, "-k", "test_run", *workspace.small, "--be-values=4,8", "--runs=1", "--resume")
        assert done.returncode == 0, done.stdout
    names = sorted(path.name.partition("_20")[0] for path in (workspace.results / "batch_scaling").iterdir())
    assert names == ["memory_scaling", "δH₁_convergence"]


@pytest.mark.slow
def test_a_batch_in_one_piece_turns_the_session_red(workspace: Workspace) -> None:
    (workspace.path / "conftest.py").write_text(KEPT)
    done = workspace.run(MODULE, *workspace.small, *SIZES)
    assert done.returncode == 1, done.stdout
    assert "memory_flatness: fail" in done.stdout
    assert "a batch computed in one piece" in done.stdout.replace("\n", " ")


@pytest.mark.slow
def test_single_batches_are_not_measured(workspace: Workspace) -> None:
    done = workspace.run(MODULE, *workspace.small, *SIZES, "--entropy-set=probe.mode=u_statistic")
    assert done.returncode == 0, done.stdout
    assert "5 skipped" in done.stdout
