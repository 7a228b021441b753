"""Sessions in the probe's other modes: one batch for both, entropy per token, total variance."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

from tests.conftest import Workspace


def records(workspace: Workspace) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(workspace.results.rglob("results.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["exact", "blocks"])
def test_u_statistic_runs_the_batch_scaling_experiment(workspace: Workspace, method: str) -> None:
    done = workspace.run(
        *workspace.scaling,
        "--entropy-set=probe.mode=u_statistic",
        f"--entropy-set=probe.u_statistic.method={method}",
        "--entropy-set=probe.u_statistic.blocks=4",
    )
    assert done.returncode == 0, done.stdout
    runs = records(workspace)
    assert len(runs) == 4
    for run in runs:
        kept = run["u_statistic"]
        assert kept["blocks"] == (run["B_E"] if method == "exact" else 4)
        value = (kept["blocks"] * kept["plug_in"] - kept["diagonal"]) / (kept["blocks"] - 1)
        assert run["delta_h1"] == pytest.approx(run["eta"] * value, rel=1e-4)
        assert run["delta_h1"] == pytest.approx(run["eta"] * np.mean(run["per_prompt"]), rel=1e-9)
        assert kept["diagonal_gap"] < 1e-3
        assert run["variance_total"] == pytest.approx(
            run["eta"] ** 2 * 4 * kept["zeta_1_jackknife"] / run["B_E"], rel=1e-4
        )
        assert len(run["update"]["prompts"]) == run["B_E"]
    assert not list(workspace.results.rglob("direction.safetensors")), "there is no shared update"


@pytest.mark.slow
def test_entropy_per_token_and_the_total_variance(workspace: Workspace) -> None:
    done = workspace.run(
        *workspace.single, "--entropy-set=probe.entropy_unit=token", "--entropy-set=probe.total_variance=true"
    )
    assert done.returncode == 0, done.stdout
    (run,) = records(workspace)
    assert run["unit"] == "nats per token"
    assert run["delta_h1"] == pytest.approx(run["eta"] * np.mean(run["per_prompt"]), rel=1e-9)
    assert 0 < run["entropy_mean"] < 6
    parts = run["variance_parts"]
    assert parts["entropy_batch"] == pytest.approx(run["variance_conditional"])
    total = parts["entropy_batch"] + parts["update_batch"] - parts["interaction"]
    assert run["variance_total"] == pytest.approx(total)
    larger = max(parts["entropy_batch"], parts["update_batch"])
    assert run["se_total"] == pytest.approx(max(total, larger) ** 0.5)
    assert bool(run["notes"]) == (total < larger)


@pytest.mark.slow
def test_fewer_responses_to_the_entropy_batch_leave_the_update_as_it_was(workspace: Workspace) -> None:
    """G_E of its own: its responses are the first ones of the groups that G would have drawn, and U is the same."""
    assert workspace.run(*workspace.single).returncode == 0
    (before,) = records(workspace)
    done = workspace.run(*workspace.single, "--entropy-set=batch_config.G_E=2", "--entropy-results=results/few")
    assert done.returncode == 0, done.stdout
    assert "G 3 (E: 2)" in done.stdout
    after = json.loads(next((workspace.results / "few").rglob("results.json")).read_text())
    assert (before["G"], after["G"]) == (3, 2)
    assert [len(row) for row in after["update"]["rewards"]] == [3] * 4
    assert after["update"]["fingerprint"] == before["update"]["fingerprint"]
    assert len(after["per_prompt"]) == len(before["per_prompt"]) == 6
    assert after["per_prompt"] != before["per_prompt"]
    assert after["agreement"]["entropies"] < 1e-4


def test_what_the_u_statistic_cannot_do_is_refused_before_any_work(workspace: Workspace) -> None:
    done = workspace.run(
        *workspace.scaling, "--entropy-set=probe.mode=u_statistic", "--entropy-set=probe.update_rule=adamw"
    )
    assert done.returncode == 4
    assert "linear in the gradient, and adamw's is not" in " ".join((done.stdout + done.stderr).split())
    assert not workspace.results.exists()


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["reinforce_loo", "rao_blackwell"])
def test_every_experiment_takes_every_estimator(workspace: Workspace, estimator: str) -> None:
    done = workspace.run(*workspace.everything, f"--entropy-set=probe.estimator={estimator}")
    assert done.returncode == 0, done.stdout
    assert {run["estimator"] for run in records(workspace)} == {estimator}


@pytest.mark.slow
def test_an_update_chooses_how_many_companions_all_its_runs_read(workspace: Workspace) -> None:
    """The same with any number of workers, each of which takes the update from its file."""
    chosen = [*workspace.scaling, "--entropy-set=batch_config.reads=auto", "--with-replacement"]
    assert workspace.run(*chosen).returncode == 0
    runs = records(workspace)
    (found,) = {run["update"]["companion_reads"] for run in runs}
    assert [run["companions"]["count"] for run in runs] == [min(found, 16)] * 4
    done = workspace.run(*chosen, "-n2", "--entropy-results=results/two")
    assert done.returncode == 0, done.stdout
    again = [json.loads(file.read_text()) for file in sorted((workspace.results / "two").rglob("results.json"))]
    assert [run["per_prompt"] for run in again] == [run["per_prompt"] for run in runs]


@pytest.mark.slow
def test_an_update_that_another_experiment_has_stored_is_asked_how_many_to_read(workspace: Workspace) -> None:
    """One that has a number of reads, and so says nothing of them; runs that are continued keep what they had."""
    one = [*workspace.small, "--runs=2", "--with-replacement"]
    scaling = ["experiments/test_batch_scaling.py", *one, "--be-values=4"]
    assert workspace.run(*scaling).returncode == 0
    assert {run["update"]["companion_reads"] for run in records(workspace)} == {None}
    chosen = ["--entropy-set=batch_config.reads=auto", "--resume"]
    done = workspace.run(*scaling, "experiments/test_single_run.py", "--be=4", *chosen)
    assert done.returncode == 0, done.stdout
    found = {file.parent: json.loads(file.read_text()) for file in workspace.results.rglob("results.json")}
    fresh = {place: run for place, run in found.items() if run["update"]["companion_reads"] is not None}
    assert len(fresh) == 3
    assert len({run["update"]["companion_reads"] for run in fresh.values()}) == 1
    assert len({run["update"]["fingerprint"] for run in found.values()}) == 1
    # What stored runs had stands, whatever would be chosen now.
    continued = next(place.parent for place in fresh if "batch_scaling" in str(place))
    # It was taken from the first session, and not computed again.
    assert json.loads((continued / "update" / "update.json").read_text())["seconds"] == {}
    stored, other = (continued / f"BE004_run00{number}" for number in (1, 2))
    record = json.loads((stored / "results.json").read_text())
    record["update"] |= {"companion_reads": 3, "fewest_reads": 2}
    (stored / "results.json").write_text(json.dumps(record))
    for removed in (other, continued / "update", workspace.results / "update_batches"):
        shutil.rmtree(removed)
    assert workspace.run(*scaling, *chosen).returncode == 0
    again = json.loads((other / "results.json").read_text())
    assert (again["update"]["companion_reads"], again["companions"]["count"]) == (3, 3)
