"""Read from their source which experiments test modules declare, because the xdist controller collects no tests."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.plugin import markers
from pytest_entropy.settings.experiments import PACKAGE, installed_experiments

if TYPE_CHECKING:
    import pytest

RUN_FIXTURE, RUNS_FIXTURE, EXPERIMENT_FIXTURE = "probe_run", "probe_runs", "experiment"
# A test with one of these fixtures belongs to its module's experiment if no marker names another.
_OF_RUNS = frozenset({RUN_FIXTURE, RUNS_FIXTURE})


def declared_experiments(config: pytest.Config) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(experiment name, module, marker's keywords) of the test modules that the command line names.

    With these the controller rejects bad input before workers start, and reserves the directories they write to.
    Names and keywords that a module computes are not found; they are planned when a worker collects the module.
    """
    patterns = config.getini("python_files")
    skipped = set(config.getini("norecursedirs"))
    seen: set[Path] = set()
    for argument in config.args:
        name = argument.split("::")[0]
        path = (config.option.pyargs and _of_module(name)) or Path(str(config.invocation_params.dir), name)
        for module in sorted(_modules(path, patterns, skipped)):
            if module not in seen:
                seen.add(module)
                yield from ((name, module, keywords) for name, keywords in _declared(module))


def _of_module(name: str) -> Path | None:
    """The file or directory of a dotted name, None if it is not one; nothing is imported, as workers will do that."""
    if f"{name}.".startswith(f"{PACKAGE}."):
        top, rest = installed_experiments(), name.removeprefix(PACKAGE).split(".")[1:]
    else:
        first, *rest = name.split(".")
        try:
            spec = find_spec(first)
        except (ImportError, ValueError):
            return None
        top = Path(spec.origin).parent if spec is not None and spec.submodule_search_locations and spec.origin else None
    if top is None:
        return None
    path = top.joinpath(*rest)
    return path if path.is_dir() else path.with_suffix(".py")


def _modules(path: Path, patterns: list[str], skipped: set[str]) -> Iterator[Path]:
    """The test modules at or below ``path``."""
    if path.is_file():
        yield path
        return
    for directory, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if not any(Path(f).match(s) for s in skipped))
        for file in files:
            if any(Path(file).match(pattern) for pattern in patterns):
                yield Path(directory, file)


def _declared(module: Path) -> list[tuple[str, dict[str, Any]]]:
    """(name, keywords) of the experiments that one module declares."""
    try:
        text = module.read_text(encoding="utf-8")
        if markers.EXPERIMENT not in text and not any(name in text for name in _OF_RUNS):
            return []
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return []  # pytest itself reports what is wrong with a module it cannot import
    if markers.EXPERIMENT in text:
        return [marker for call in ast.walk(tree) if (marker := _marker(call)) is not None]
    name = module.stem.removeprefix("test_")
    return [(name, {})] if name.isidentifier() and any(map(_uses_runs, ast.walk(tree))) else []


def _marker(call: ast.AST) -> tuple[str, dict[str, Any]] | None:
    """Name and keywords of ``mark.entropy_experiment("name", key=value)``, None unless all of them are literals."""
    if not isinstance(call, ast.Call) or getattr(call.func, "attr", None) != markers.EXPERIMENT:
        return None
    try:
        (name,) = map(ast.literal_eval, call.args)
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except ValueError:
        return None
    return (name, keywords) if isinstance(name, str) and len(keywords) == len(call.keywords) else None


def _uses_runs(node: ast.AST) -> bool:
    """Whether a syntax node is a test function with one of the run fixtures."""
    if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test"):
        return False
    return any(argument.arg in _OF_RUNS for argument in node.args.args)
