"""What the plugin adds to a pytest that does not use it, how long help and collection take, and what a session imports.

The imports of a session are those of a process that computes a run: pytest, the plugin, the probe, and what loading the
model takes, without reports.  They are compared in CPU seconds with a bare import of torch and transformers, which
imports no model, and with the imports of a program that loads the same model with the libraries alone.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measure import interleaved, interleaved_clocks, ratios, summary

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
# Imports by CPU seconds; the loader imports peft only for an adapter, hence both kinds of checkpoint.
BARE = "import torch, transformers"
MODEL = f"{BARE}; from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2ForCausalLM"
SESSION = (
    f"import pytest, pytest_entropy.plugin.fixtures, pytest_entropy.plugin.reporter; {MODEL}; "
    "import pytest_entropy.checkpoints.load, pytest_entropy.probe, pytest_entropy.runs.planner, "
    "pytest_entropy.runs.execution"
)
IMPORTS = {
    "bare": BARE,
    "program that loads a model": MODEL,
    "program that loads an adapter": f"{MODEL}; import peft",
    "session": SESSION,
    "session with an adapter": f"{SESSION}; import peft",
}


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
        "imports": imports(min(repeats, 3)),
    }


def imports(repeats: int) -> dict[str, object]:
    """CPU seconds of imports by what is imported, and their ratios, round by round."""
    tasks = {name: partial(_quiet, [sys.executable, "-c", code], ROOT) for name, code in IMPORTS.items()}
    (seconds,) = interleaved_clocks(tasks, repeats, [_cpu_seconds_of_children])
    libraries = {"session": "program that loads a model", "session with an adapter": "program that loads an adapter"}
    return {
        "cpu_seconds": {name: summary(values) for name, values in seconds.items()},
        "over torch and transformers": {
            name: summary(ratios(values, seconds["bare"])) for name, values in seconds.items() if name != "bare"
        },
        "over the libraries alone": {
            name: summary(ratios(seconds[name], seconds[alone])) for name, alone in libraries.items()
        },
    }


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _quiet(command: list[str], where: str | Path, round_: int) -> None:
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=where, capture_output=True, timeout=600, check=True, env=_environment(environment))


def _environment(more: dict[str, str]) -> dict[str, str]:
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
