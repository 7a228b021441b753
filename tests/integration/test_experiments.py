"""What the README promises of experiments: one's own in ten lines, saved gradients, planted bugs that turn red."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint, registry
from pytest_entropy.checkpoints import demo
from tests.conftest import Workspace

ROOT = Path(__file__).parents[2]
# The demo's context is shorter than the 256 tokens that a response to another checkpoint may have.
SHORT = "--entropy-set=sampling.max_new_tokens=32"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_readmes_own_experiment_runs(workspace: Workspace) -> None:
    (block,) = [b for b in python_blocks() if "entropy_experiment" in b]
    (workspace.path / "test_collapse.py").write_text(block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    done = workspace.run("test_collapse.py", *workspace.small, "--be-values=4,8", "--runs=2", "-v")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    (analysis,) = (workspace.results / "collapse").rglob("analysis.json")
    values = workspace.deltas().values()
    assert json.loads(analysis.read_text())["mean_delta_h1"] == pytest.approx(sum(values) / len(values))


def test_the_readmes_probe_without_pytest_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = [b for b in python_blocks() if "EntropyProbe(" in b]
    exec(compile(block, "README.md", "exec"), {})
    delta, se = map(float, capsys.readouterr().out.split())
    probe = EntropyProbe(load_checkpoint("demo"), ProbeConfig(B_U=32, G=8, max_new_tokens=32))
    result = probe.run(B_E=64, seed=1)
    assert (delta, se) == (result.delta_h1, result.se_conditional)


@pytest.mark.parametrize(
    ("module", "sizes"),
    [
        pytest.param("test_single_run.py", "{B_E_values: [4], runs_per_batch: 2}", marks=pytest.mark.slow),
        pytest.param("test_sanity_check.py", "{B_E_values: [4, 6], runs_per_batch: 1}", marks=pytest.mark.slow),
    ],
)
def test_runs_that_no_option_of_the_experiment_asks_for_have_directories_of_their_own(
    workspace: Workspace, module: str, sizes: str
) -> None:
    """One --config for all four gives each of them several B_E and several runs."""
    (workspace.path / "my.yaml").write_text(f"batch_config: {sizes}\n")
    done = workspace.run(f"experiments/{module}", "-k", "test_run", *workspace.small, "--config=my.yaml")
    assert done.returncode == 0, done.stdout
    files = list(workspace.results.rglob("results.json"))
    records = [json.loads(file.read_text()) for file in files]
    assert len({(record["B_E"], record["run"]) for record in records}) == 2, files
    assert len({record["delta_h1"] for record in records}) == 2


@pytest.mark.slow
def test_gradients_are_saved_and_agree_with_delta_h1(workspace: Workspace) -> None:
    done = workspace.run("experiments/test_debug.py", *workspace.small, "--be-values=4,8", "--save-gradients", "-v")
    assert done.returncode == 0, done.stdout
    (root,) = (workspace.results / "debug").iterdir()
    u = load_file(root / "update" / "direction.safetensors")
    assert set(load_file(root / "update" / "update_gradient.safetensors")) == set(u)
    for name in ("debug_BE004", "debug_BE008"):
        gradient = load_file(root / name / "entropy_gradient.safetensors")
        record = json.loads((root / name / "results.json").read_text())
        dot = sum(float((gradient[key].double() * u[key].double()).sum()) for key in u)
        assert record["eta"] * dot == pytest.approx(record["delta_h1"], rel=1e-3)
        text = (root / name / "probe_log.txt").read_text()
        assert "DEBUG" in text
        assert "entropy gradient |g|" in text
    assert (root / "debug_report.json").is_file()


# What the failing check says points to it: the bug.
BUGS = {
    "entropy-to-go off by a position": (
        "from pytest_entropy.probe.estimators import base\n"
        "real = base.entropy_to_go\n"
        "base.entropy_to_go = lambda h: real(h) + h\n"
    ),
    "a sign, a missing bias correction": (
        "from pytest_entropy.probe.update import batch\n"
        "real = batch.update_direction\n"
        "batch.update_direction = lambda *a, **k: {n: -u for n, u in real(*a, **k).items()}\n"
    ),
    "rows in another order": (
        "from dataclasses import replace\n"
        "from pytest_entropy.probe.setup import Setup\n"
        "real = Setup.sample\n"
        "def sample(self, *arguments):\n"
        "    drawn = real(self, *arguments)\n"
        "    return replace(drawn, tokens=drawn.tokens.roll(1, 1), lengths=drawn.lengths.roll(1, 1))\n"
        "Setup.sample = sample\n"
    ),
    "a learning rate that is neither configured nor stored": (
        "from pytest_entropy.probe.setup import Setup\n"
        "build = Setup.__init__\n"
        "def built(self, *arguments, **named):\n"
        "    build(self, *arguments, **named)\n"
        "    self.eta *= 2\n"
        "Setup.__init__ = built\n"
    ),
}


# One bug of the four with every run of the tests, the others with the slow ones.
@pytest.mark.parametrize("says", [next(iter(BUGS)), *(pytest.param(b, marks=pytest.mark.slow) for b in list(BUGS)[1:])])
def test_a_planted_bug_turns_the_session_red_and_is_named(workspace: Workspace, says: str) -> None:
    (workspace.path / "conftest.py").write_text(BUGS[says])
    done = workspace.run("experiments/test_sanity_check.py", *workspace.small, "--be=6", "--runs=2")
    assert done.returncode == 1, done.stdout
    assert says in done.stdout.replace("\n", " ")


SANITY = ("experiments/test_sanity_check.py", "--be=6", "--runs=2")
OWN_CHECK = """
from pytest_entropy import registry
from pytest_entropy.checks.base import Check, exact, numbers

def judge(check, runs, given):
    assert 0 < given.share <= 1e-3
    return exact(check, numbers(runs, "length_mean"), noise_floor={most}, unit="tokens")

CHECK = Check(
    name="short_responses", claim="responses are short", likely_causes="a policy that rambles",
    needs=("length_mean",), judge=judge,
)
registry.add("checks", "short_responses", CHECK)
"""


@pytest.mark.slow
@pytest.mark.parametrize("most", [100, 1])
def test_a_check_of_another_package_is_an_item_of_the_sanity_check(workspace: Workspace, most: int) -> None:
    (workspace.path / "conftest.py").write_text(OWN_CHECK.format(most=most))
    done = workspace.run(*SANITY, *workspace.small, "-k", "test_check", "-v")
    assert "test_check[short_responses]" in done.stdout
    assert done.returncode == (most == 1), done.stdout
    (file,) = (workspace.results / "sanity_check").rglob("check_*.json")
    assert file.name == "check_test_check[short_responses]_short_responses.json"
    assert json.loads(file.read_text())["verdict"] == ("fail" if most == 1 else "pass")
    assert ("points to: a policy that rambles" in done.stdout) == (most == 1)


@pytest.mark.slow
def test_each_identity_of_the_bookkeeping_is_an_item_and_nothing_else_is_selected_by_its_name(
    workspace: Workspace,
) -> None:
    done = workspace.run(*SANITY, *workspace.small, "-k", "bookkeeping", "--collect-only", "-q")
    items = [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]
    assert items == [f"test_bookkeeping[{name}]" for name in registry.names("bookkeeping")]
    whole = workspace.run(*SANITY, *workspace.small, "--collect-only", "-q").stdout
    assert "test_check" not in whole


@pytest.mark.slow
def test_a_checkpoint_with_permuted_optimizer_states_turns_the_session_red(workspace: Workspace) -> None:
    """Two states of the same shape exchanged: every shape fits, only the checkpoint one step before contradicts."""
    shutil.copytree(demo.PATH, workspace.path / "doctored")
    file = workspace.path / "doctored" / "step_30" / "optimizer.pt"
    record = torch.load(file, weights_only=True)
    state = record["state"]
    first, second = (i for i in list(state)[:4:2])
    assert state[first]["exp_avg"].shape == state[second]["exp_avg"].shape
    state[first], state[second] = state[second], state[first]
    torch.save(record, file)
    done = workspace.run("experiments/test_single_run.py", "--checkpoint=doctored/step_30", "--be=4", "--bu=4", SHORT)
    assert done.returncode == 1, done.stdout
    assert "permuted" in done.stdout
