"""What the plugin adds to a pytest that does not use it, and how long help and collection take."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measure import interleaved, summary

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]


def startup(repeats: int) -> dict[str, object]:
    """Seconds by command, and milliseconds the plugin's import adds (``-X importtime``)."""
    with tempfile.TemporaryDirectory() as elsewhere:
        commands: dict[str, tuple[list[str], str | Path]] = {
            "pytest --version, with plugin": ([*PYTEST, "-p", "pytest_entropy.plugin", "--version"], elsewhere),
            "pytest --version, without": ([*PYTEST, "-p", "no:entropy", "--version"], elsewhere),
            "pytest --help": ([*PYTEST, "--help"], ROOT),
            "pytest --collect-only experiments": ([*PYTEST, "--collect-only", "-q", "experiments"], ROOT),
        }
        tasks = {name: partial(_quiet, command, where) for name, (command, where) in commands.items()}
        seconds = interleaved(tasks, repeats)
    return {
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "plugin_import_ms": summary([import_milliseconds() for _ in range(repeats)]),
        "imports_torch": "torch" in _imported(),
    }


def _quiet(command: list[str], where: str | Path, round_: int) -> None:
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=where, capture_output=True, timeout=120, check=True, env=_environment(environment))


def _environment(more: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **more}


def import_milliseconds() -> float:
    """Cumulative import time of the plugin beyond pytest's own modules, in milliseconds."""
    lines = _import_time("import pytest, _pytest.config; import pytest_entropy.plugin")
    own = [line for line in lines if line.rstrip().endswith("pytest_entropy.plugin")]
    return int(re.findall(r"\d+", own[0])[1]) / 1000


def _import_time(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


def _imported() -> set[str]:
    """Top-level packages in memory once the plugin is imported."""
    code = "import sys, pytest_entropy.plugin; print(' '.join({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
