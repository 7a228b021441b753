"""Parts of another package: one file and one entry-point line each, and each exercised by a real session."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_entropy import registry
from tests.conftest import ROOT, Workspace, unwrapped

# kind -> (name, the one file)
PARTS = {
    "estimators": (
        "our_estimator",
        """
from pytest_entropy.probe.estimators import rao_blackwell as own
from pytest_entropy.probe.estimators.base import Estimator

ESTIMATOR = Estimator(own.weights, own.definition)
""",
    ),
    "update_rules": (
        "half_sgd",
        """
import torch
from pytest_entropy.optimizers.rules.base import UpdateRule

def direction(gradient, state, parameters, *, max_grad_norm=None):
    return {name: -0.5 * g.double() for name, g in gradient.items()}

def torch_step(g, state, theta):
    parameter = torch.nn.Parameter(torch.zeros_like(theta))
    parameter.grad = g
    torch.optim.SGD([parameter], lr=0.5).step()
    return parameter.detach()

UPDATE_RULE = UpdateRule(direction, torch_step, linear=True, needs_state=False)
""",
    ),
    "layouts": (
        "export",
        """
from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.states.parameter_order import all_or_trainable

class ExportLayout:
    order, name, expects = 5, "export of our trainer", "adapter/ and state/adam.pt"

    def find(self, path):
        optimizer = path / "state" / "adam.pt"
        if not optimizer.is_file():
            return None
        return CheckpointFiles(self.name, path, path / "adapter", True, optimizer, None)

    def parameter_order(self, model, trainable, groups):
        return all_or_trainable(model, trainable, groups)

LAYOUT = ExportLayout()
""",
    ),
    "rewards": (
        "brevity",
        """
from pytest_entropy.rewards import NamedReward

REWARD = NamedReward(lambda prompts, completions, **columns: [1 / (1 + len(text)) for text in completions],
                     repeatable=True)
""",
    ),
    "prompt_sources": (
        "numbers",
        """
from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.sources.base import PromptSource

SOURCE = PromptSource(
    "numbers:COUNT",
    lambda source: source.startswith("numbers:"),
    lambda source, columns: [Prompt(f"{n} plus {n} is") for n in range(int(source.partition(":")[2]))],
)
""",
    ),
    "checks": (
        "our_runs_are_there",
        """
from pytest_entropy.checks.base import Check, exact

CHECK = Check(
    name="our_runs_are_there", claim="every run has measured a length", likely_causes="a run without responses",
    needs=("length_mean",),
    judge=lambda check, runs, given: exact(
        check, [float(run.number("length_mean") <= 0) for run in runs], noise_floor=1e-9, unit="runs"
    ),
)
""",
    ),
    "bookkeeping": (
        "our_identity",
        """
from pytest_entropy.checks.bookkeeping.base import identity, recorded

CHECK = identity("our_identity", "no prompt has copies", "copies", ("agreement.copies",), recorded("agreement.copies"))
""",
    ),
    "report_sections": (
        "our_section",
        """
from markupsafe import Markup
from pytest_entropy.reports.sections.base import Section

class OurSection(Section):
    title, order = "Written by our section", 150

    def html(self, view):
        return Markup("<p>{} runs of ours</p>").format(len(view.runs))

SECTION = OurSection()
""",
    ),
    "executors": (
        "elsewhere",
        """
import json
from pytest_entropy.runs.executors.base import Executor

class Elsewhere(Executor):
    def choose_device(self, device):
        pass

    def compute(self, spec, place, directory):
        from pytest_entropy.records.spec import RunSpec
        from pytest_entropy.runs.compute import compute
        sent = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
        (directory / "sent.json").write_text(json.dumps(sent.to_dict()))
        return compute(sent, place, directory)

EXECUTOR = Elsewhere
""",
    ),
}
# What the package's author has in a test of their own.
CONFORMANCE = """
from dataclasses import replace

import pytest

from pytest_entropy.testing import check_check, check_executor, check_identity, check_report_section
from pytest_entropy.testing.recorded import on_every_run


def test_our_check():
    check_check("our_runs_are_there", {"no response": on_every_run(lambda run: replace(run, length_mean=0.0))})


@pytest.mark.parametrize("copies", [1.0, 0.0])
def test_our_identity(copies):
    planted = on_every_run(lambda run: replace(run, agreement=replace(run.agreement, copies=copies)))
    check_identity("our_identity", {"copies": planted})


def test_our_section():
    check_report_section("our_section")


def test_our_executor():
    check_executor("elsewhere")
"""
HOOK = """
def pytest_entropy_register(registry):
    from pytest_entropy.rewards import NamedReward

    registry.add("rewards", "constant", NamedReward(lambda prompts, completions, **columns: [1.0] * len(completions)))
"""


@dataclass
class Extended(Workspace):
    """A workspace with a package of somebody else's on the path."""

    def install(self) -> None:
        """Write the package: a module per part, and the metadata that an installation leaves."""
        package, metadata = self.path / "site" / "others_parts", self.path / "site" / "others_parts-1.0.dist-info"
        package.mkdir(parents=True)
        metadata.mkdir()
        (package / "__init__.py").touch()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: others-parts\nVersion: 1.0\n")
        lines = []
        for kind, (name, source) in PARTS.items():
            (package / f"{name}.py").write_text(source)
            lines += [f"[pytest_entropy.{kind}]", f"{name} = others_parts.{name}"]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": f"{ROOT}:{self.path / 'site'}"}


@pytest.fixture
def extended(workspace: Workspace) -> Extended:
    space = Extended(workspace.path, workspace.path / "export")
    space.install()
    step = workspace.checkpoint
    shutil.copytree(step / "model", space.checkpoint / "adapter")
    (space.checkpoint / "state").mkdir()
    shutil.copy(step / "optimizer.pt", space.checkpoint / "state" / "adam.pt")
    return space


@pytest.mark.slow
def test_each_part_is_used_by_a_session(extended: Extended, checkpoint: Path) -> None:
    (extended.path / "conftest.py").write_text(HOOK)
    done = extended.run(
        "experiments/test_single_run.py", "-n1", f"--checkpoint={extended.checkpoint}",
        f"--base-model={checkpoint.parent / 'base'}", "--prompts=numbers:40", "--reward=brevity,constant*2",
        "--be=6", "--bu=4", "--entropy-set=batch_config.G=3", "--entropy-set=sampling.max_new_tokens=6",
        "--entropy-set=probe.estimator=our_estimator", "--entropy-set=probe.update_rule=half_sgd",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "(export of our trainer, " in done.stdout
    assert "our_estimator, half_sgd, dr_grpo, T = 1, numbers:40" in unwrapped(done.stdout)
    (file,) = extended.results.rglob("results.json")
    update = json.loads(file.read_text())["update"]
    assert update["rule"] == "half_sgd"
    assert update["oracle_gap"] < 1e-12
    # The constant moves the mean and nothing else; every completion has at most six tokens.
    assert 2 < update["reward_mean"] <= 3


@pytest.mark.slow
def test_checks_a_section_and_an_executor_are_used_by_a_session(extended: Extended, checkpoint: Path) -> None:
    done = extended.run(
        "experiments/test_sanity_check.py", "-n1", f"--checkpoint={checkpoint}", "--be=6", "--bu=4", "--runs=2", "-v",
        "--entropy-set=batch_config.G=3", "--entropy-set=sampling.max_new_tokens=6", "--entropy-executor=elsewhere",
        "-k", "test_check or our_identity or test_run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for item in ("test_check[our_runs_are_there]", "test_bookkeeping[our_identity]"):
        assert item in done.stdout
    assert len(list(extended.results.rglob("sent.json"))) == 2
    (report,) = extended.results.rglob("report.html")
    assert "Written by our section" in report.read_text()
    assert "2 runs of ours" in report.read_text()


@pytest.mark.slow
def test_its_author_holds_them_against_their_contracts(extended: Workspace) -> None:
    (extended.path / "test_ours.py").write_text(CONFORMANCE)
    done = extended.run("test_ours.py", "-p", "no:entropy")
    assert "1 failed, 4 passed" in done.stdout, done.stdout
    assert "bookkeeping identity our_identity does not see the fault 'copies': our_identity: pass" in done.stdout


def test_the_package_has_a_part_of_each_kind() -> None:
    # A scalar is an estimator for diagnostics only; an optimizer's state has tests beside those that are built in.
    assert set(PARTS) | {"scalars", "optimizers"} == set(registry.KINDS)


def test_a_part_that_cannot_be_imported_is_named_with_its_package(extended: Extended) -> None:
    (extended.path / "site" / "others_parts" / "brevity.py").write_text("import nothing_of_the_kind\n")
    done = extended.run("experiments/test_single_run.py", "--prompts=numbers:900", "--reward=brevity", "--collect-only")
    assert done.returncode == 4
    assert "reward 'brevity' cannot be imported from 'others_parts.brevity' (package others-parts)" in done.stderr
    assert "No module named 'nothing_of_the_kind'" in done.stderr
