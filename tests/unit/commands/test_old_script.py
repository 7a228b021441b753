"""The old script's command lines: what becomes of each, with which experiments, and with which exit code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from pytest_entropy.commands import old_script
from pytest_entropy.commands.command_line import main
from pytest_entropy.errors import UsageError
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "batch-scaling --checkpoint C --be-values 16,32 --runs 3 --verbose",
            "test_batch_scaling -v --checkpoint=C --be-values=16,32 --runs=3",
        ),
        ("sanity-check --checkpoint C --runs 15 --be 256", "test_sanity_check --checkpoint=C --be=256 --runs=15"),
        (
            "single --checkpoint C --be 256 --bu 32 --minimal",
            "test_single_run --minimal --checkpoint=C --be=256 --bu=32",
        ),
        (
            "debug --checkpoint C --be-values 16 --quiet --save-gradients --config my.yaml -n 2",
            "test_debug -q --checkpoint=C --config=my.yaml --be-values=16 --save-gradients -n 2",
        ),
    ],
)  # fmt: skip
def test_the_old_commands_become_pytest_commands(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command, *arguments = old.split()
    module, *rest = old_script.pytest_arguments(command, arguments)
    assert module == f"experiments/{new.split()[0]}.py"
    assert rest == new.split()[1:]


def test_the_old_commands_need_a_checkpoint_as_they_did(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="4"):
        main(["single", "--be", "256"])
    assert "--checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["batch-scalin"], ["debug", "--checkpoint"], ["single", "--be=4"]])
def test_a_wrong_command_line_has_pytests_exit_code(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="4"):
        old_script.main(arguments)
    assert "usage: run_entropy_test.py" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["debug", "--help"]])
def test_help_is_no_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        old_script.main(arguments)
    assert "debug" in capsys.readouterr().out


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package's experiments, seen from an empty directory."""
    place = tmp_path / "site-packages" / "pytest_entropy" / "experiments"
    shutil.copytree(ROOT / "experiments", place, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", place / "configs")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(old_script, "installed_experiments", lambda: place)
    return place


def test_experiments_here_come_before_installed_ones(installed: Path) -> None:
    ours = ["--pyargs", "pytest_entropy.experiments.test_debug"]
    assert old_script.pytest_arguments("debug", ["--checkpoint", "C"]) == [*ours, "--checkpoint=C"]
    here = Path("experiments") / "test_debug.py"
    here.parent.mkdir()
    here.write_text("def test_something_else(): assert True\n")
    assert old_script.pytest_arguments("debug", ["--checkpoint", "C"]) == [*ours, "--checkpoint=C"]
    shutil.copy(installed / "test_debug.py", here)
    assert old_script.pytest_arguments("debug", ["--checkpoint", "C"]) == [str(here), "--checkpoint=C"]


def test_a_checkout_that_is_not_installed_has_its_own(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(old_script, "installed_experiments", lambda: None)
    beside, _ = old_script.pytest_arguments("debug", ["--checkpoint", "C"])
    assert Path(beside) == ROOT / "experiments" / "test_debug.py"
    monkeypatch.setattr(old_script, "__file__", str(installed.parent / "commands" / "old_script.py"))
    with pytest.raises(UsageError, match="pytest_entropy.experiments is not installed"):
        old_script.pytest_arguments("debug", ["--checkpoint", "C"])
    assert old_script.main(["debug", "--checkpoint", "C"]) == 4
    assert "error: experiments/test_debug.py does not exist" in capsys.readouterr().err


def test_the_old_readmes_templates_are_there_without_a_checkout(installed: Path) -> None:
    def config(name: str) -> str:
        return old_script.pytest_arguments("debug", ["--checkpoint", "C", "--config", name])[-1]

    assert config("configs/debug.yaml") == f"--config={installed / 'configs' / 'debug.yaml'}"
    assert config("my.yaml") == "--config=my.yaml", "what is missing is pytest's to say"
    Path("configs").mkdir()
    Path("configs/debug.yaml").write_text("seed: 3\n")
    assert config("configs/debug.yaml") == "--config=configs/debug.yaml"


@pytest.mark.parametrize(("code", "exit_code"), [(0, 0), (1, 1), (5, 5), (-9, 137)])
def test_exit_codes_are_pytests(code: int, exit_code: int) -> None:
    session = mock.Mock(spec=subprocess.Popen, **{"wait.return_value": code})
    with mock.patch.object(subprocess, "Popen", return_value=session):
        assert old_script.main(["single", "--checkpoint", "C"]) == exit_code


def test_an_interrupted_session_still_ends_by_itself() -> None:
    """Ctrl-C reaches both processes: only pytest has something to write."""
    session = mock.Mock(spec=subprocess.Popen, **{"wait.side_effect": [KeyboardInterrupt, KeyboardInterrupt, 2]})
    with mock.patch.object(subprocess, "Popen", return_value=session) as started:
        assert old_script.main(["single", "--checkpoint", "C"]) == 2
    assert started.call_args.args[0][:3] == [sys.executable, "-m", "pytest"]
