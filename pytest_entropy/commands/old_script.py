"""The four subcommands of the old ``run_entropy_test.py`` with its flags, translated to pytest commands."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_entropy.errors import UsageError

MODULES = {
    "batch-scaling": "test_batch_scaling.py",
    "sanity-check": "test_sanity_check.py",
    "single": "test_single_run.py",
    "debug": "test_debug.py",
}
_LOUDNESS = {"verbose": "-v", "quiet": "-q", "minimal": "--minimal"}


def experiments_directory() -> Path:
    """The directory of the four experiments: in the working directory, else beside the package.

    Raises:
        UsageError: neither holds it.
    """
    for place in (Path("experiments"), Path(__file__).parents[2] / "experiments"):
        if (place / "test_batch_scaling.py").is_file():
            return place
    raise UsageError("no experiments/ here: run this in the project's directory, or copy its experiments/ folder")


def pytest_arguments(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of pytest for a command of the old script; options it did not have are passed on unchanged.

    Args:
        command: one of :data:`MODULES`.
        arguments: the command's own.

    Raises:
        UsageError: the experiments' directory does not exist.
    """
    parser = argparse.ArgumentParser(prog=f"python -m pytest_entropy {command}", allow_abbrev=False)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--verbose", action="store_true", help="DEBUG logs")
    loudness.add_argument("--minimal", action="store_true", help="key results only")
    loudness.add_argument("--quiet", action="store_true", help="final summary only")
    parser.add_argument("--checkpoint", required=True, help="checkpoint directory")
    parser.add_argument("--config", help="YAML over the experiment's template")
    for option in ("--be-values", "--be", "--bu", "--runs"):
        parser.add_argument(option)
    parser.add_argument("--save-gradients", action="store_true")
    known, others = parser.parse_known_args(arguments)
    out = [str(experiments_directory() / MODULES[command])]
    for name, value in vars(known).items():
        if name in _LOUDNESS:
            out += [_LOUDNESS[name]] * bool(value)
        elif value is True:
            out.append("--" + name.replace("_", "-"))
        elif value not in (None, False):
            out += ["--" + name.replace("_", "-"), value]
    return out + others


def run(command: str, arguments: Sequence[str]) -> int:
    """Print the pytest command of an old command, run it, and return pytest's exit code."""
    translated = pytest_arguments(command, arguments)
    print(shlex.join(["pytest", *translated]), flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *translated]).returncode
