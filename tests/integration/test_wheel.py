"""The wheel by itself: the experiments and the old script's command lines, in a directory without a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from tests.conftest import ROOT, Workspace

pytestmark = pytest.mark.slow
# What a wheel is built from.
SOURCES = ("pytest_entropy", "experiments", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the wheel is installed, without what it depends on."""
    try:
        built_by = Version(version("setuptools"))
    except PackageNotFoundError:
        pytest.skip("building the wheel needs setuptools")
    if built_by < Version("77"):
        pytest.skip(f"building the wheel needs setuptools 77, this is {built_by}")
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source))
    pip("install", "--no-deps", "--target", str(site), *map(str, wheels.glob("*.whl")))
    return site


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass
class Empty(Workspace):
    """A directory with prompts and a reward and nothing else, in which the installed package is used."""

    site: Path

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(self.site)}

    def program(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the programs that the wheel installs."""
        return subprocess.run(
            [sys.executable, str(self.site / "bin" / name), *arguments],
            cwd=self.path, env=self.environment(), capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]


@pytest.fixture
def empty(workspace: Workspace, site: Path) -> Empty:
    for name in ("experiments", "configs", "pytest.ini"):
        (workspace.path / name).unlink()
    return Empty(workspace.path, workspace.checkpoint, site)


def test_all_experiments_run_by_the_name_of_their_package(empty: Empty) -> None:
    sizes = ("--be-values=4,8", "--be=6", "--runs=2", "-n2", "--junitxml=junit.xml", "-o", "junit_family=xunit1")
    done = empty.run("--pyargs", "pytest_entropy.experiments", *empty.small, *sizes)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.parent.relative_to(empty.results).as_posix() for path in empty.results.rglob("experiment.json")}
    assert sorted(name.partition("_20")[0] for name in found) == [
        "batch_scaling/memory_scaling", "batch_scaling/δH₁_convergence", "debug/debug_analysis",
        "sanity_check/validation", "single_run/single_run",
    ]  # fmt: skip
    junit = (empty.path / "junit.xml").read_text()
    assert 'classname="pytest_entropy.experiments.test_debug" name="test_run[BE004-run001]"' in junit
    (config,) = empty.results.rglob("BE006_BU4/config.yaml")
    template = yaml.safe_load(config.read_text())["provenance"]["eta_sweep.multiples"]
    assert template == f"{empty.site}/pytest_entropy/experiments/configs/single_run.yaml, line 7"


def test_a_template_here_goes_before_the_installed_one(empty: Empty) -> None:
    (empty.path / "configs").mkdir()
    (empty.path / "configs" / "single_run.yaml").write_text("eta_sweep:\n  multiples: []\n")
    module = "pytest_entropy.experiments.test_single_run"
    # In two words: with a checkpoint elsewhere, pytest's root directory is not this one.
    done = empty.run("--pyargs", module, *empty.small[1:], "--checkpoint", str(empty.checkpoint), "--be=4")
    assert done.returncode == 0, done.stdout + done.stderr
    (config,) = empty.results.rglob("BE004_BU4/config.yaml")
    assert yaml.safe_load(config.read_text())["eta_sweep"]["multiples"] == []


# The command lines of the old script's README, each with its own options and smaller sizes.
COMMANDS = {
    "batch-scaling": (
        "--be-values 4,8 --runs 2 --config configs/batch_scaling.yaml --verbose", "δH₁_convergence", "BE008_run002",
    ),
    "sanity-check": ("--runs 2 --be 6 --minimal", "validation", "run002"),
    "single": ("--be 6 --bu 4 --quiet", "single_run", "BE006_BU4"),
    "debug": ("--be-values 4,8 --verbose --save-gradients", "debug_analysis", "debug_BE008"),
}  # fmt: skip


@pytest.mark.parametrize("program", ["pytest-entropy", "run_entropy_test.py"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_old_command_lines_work_without_a_checkout(empty: Empty, program: str, command: str) -> None:
    options, prefix, run = COMMANDS[command]
    small = [option for option in empty.small if not option.startswith(("--checkpoint", "--bu"))]
    size = [] if "--bu" in options else ["--bu", "4"]
    done = empty.program(program, command, "--checkpoint", str(empty.checkpoint), *options.split(), *size, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("pytest --pyargs pytest_entropy.experiments.test_")
    (directory,) = empty.results.glob(f"*/{prefix}_*")
    assert (directory / run / "results.json").is_file()
    assert (directory / run / "probe_log.txt").is_file()


@pytest.mark.parametrize("program", ["pytest-entropy", "run_entropy_test.py"])
def test_exit_codes_are_pytests(empty: Empty, program: str) -> None:
    for arguments in (["single"], ["single", "--checkpoint", "nowhere"], ["debug", "--checkpoint=demo", "--be=4"]):
        done = empty.program(program, *arguments)
        assert done.returncode == 4, done.stdout + done.stderr
    assert empty.program(program, "single", "--help").stdout.startswith(f"usage: {program} single")
    assert not empty.results.exists()
