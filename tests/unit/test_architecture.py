"""The house rules a reader relies on: which way imports point, and how large modules get."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "pytest_entropy"
MODULES = sorted(ROOT.rglob("*.py"))

# From the ground up; a module imports from its own layer or from those below it.
LAYERS = [
    {
        "errors",
        "seeds",
        "gpus",
        "meter",
        "rowmap",
        "kinds",
        "hookspecs",
        "lookahead",
        "adamw",
        "word_problems",
        "time_limit",
    },
    {
        "alternatives",
        "chat_template",
        "distribution",
        "decoding_cache",
        "predictions",
        "recorder",
        "rollouts",
        "prompts",
        "config",
    },
    {"rewards", "policy", "options", "stats"},
    {"checkpoints", "probe"},
    {"results", "planning"},
    {"execution", "analyses", "gate"},
    {"session"},
    {"fixtures", "reporter", "command_line", "old_script"},
    {"outcomes"},
    {"plugin", "__main__", "__init__"},
]


def part(module: Path) -> str:
    return module.relative_to(ROOT).with_suffix("").parts[0]


def imports(module: Path, *, at_runtime: bool = True):
    """Names imported at module level; under ``if TYPE_CHECKING`` only annotations are at stake."""
    for node in ast.parse(module.read_text()).body:
        for child in ast.walk(node) if not isinstance(node, ast.If) else ():
            if isinstance(child, ast.ImportFrom) and child.module:
                yield child.module
            elif isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_imports_point_downwards(module):
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    own = height[part(module)]
    for name in imports(module):
        if name.startswith("pytest_entropy."):
            other = name.split(".")[1]
            assert height[other] <= own, f"{module.relative_to(ROOT)} imports {name}, which stands above it"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_modules_stay_readable(module):
    assert len(module.read_text().splitlines()) <= 330
    assert module.stem not in {"utils", "helpers", "common", "misc"}
    assert ast.get_docstring(ast.parse(module.read_text())), "say in one line what the module is for"


@pytest.mark.parametrize("folder", ["probe", "stats"])
def test_mathematics_does_no_input_or_output_and_knows_no_pytest(folder):
    for module in (ROOT / folder).rglob("*.py"):
        names = set(imports(module))
        assert not names & {"pytest", "json", "pathlib", "shutil", "yaml"}, module
        if folder == "stats":
            assert not any(name.startswith(("torch", "transformers")) for name in names), module


def test_the_plugin_imports_nothing_heavy():
    heavy = ("torch", "numpy", "pydantic", "yaml")
    code = f"import sys, pytest_entropy.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "[]"
