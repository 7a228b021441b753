"""The house rules a reader relies on (``tests/laws.py``), held against the package, and each seen red on a fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import laws

PACKAGE = laws.Package(Path(__file__).parents[2] / "pytest_entropy")
# From the ground up; a room imports only what stands on a lower floor.
FLOORS = [
    {"errors", "time_limit"},
    {"registry"},
    {"stats", "optimizers"},
    {"records"},
    {"settings"},
    {"prompts"},
    {"policy"},
    {"reports"},
    {"rewards"},
    {"baselines"},
    {"probe"},
    {"checkpoints"},
    {"checks"},
    {"runs"},
    {"plugin", "testing"},
    {"commands"},
    {"__main__", "__init__"},
]
WITHOUT_TORCH = ("records", "settings", "stats", "checks", "baselines", "reports", "commands", "prompts", "registry")
MATHEMATICS = ("probe", "stats", "optimizers", "policy")
LAWS: dict[str, Callable[[laws.Package], list[str]]] = {
    "imports point downwards": lambda p: laws.upward_imports(p, FLOORS),
    "no circles": laws.circles,
    "no torch where numbers will do": lambda p: laws.kept_out(p, "torch", WITHOUT_TORCH),
    "pytest in the plugin only": lambda p: laws.kept_in(p, "pytest", ("plugin",)),
    "transformers where models are loaded and run": lambda p: laws.kept_in(
        p, "transformers", ("policy", "checkpoints", "testing")
    ),
    "peft where models are loaded and run": lambda p: laws.kept_in(p, "peft", ("policy", "checkpoints", "testing")),
    "matplotlib in reports only": lambda p: laws.kept_in(p, "matplotlib", ("reports",)),
    "jinja2 in reports and templates": lambda p: laws.kept_in(p, "jinja2", ("reports", "checkpoints")),
    "no files in the mathematics": lambda p: laws.files_touched(p, MATHEMATICS),
    "the second reading shares nothing with the loader": lambda p: laws.apart(
        p, "checkpoints.second_reading", ("records",)
    ),
    "short modules and functions": lambda p: laws.too_long(p, module_lines=300, function_lines=50),
    "modules say what they are for": laws.unnamed,
    "no measured number has a default of 0": lambda p: laws.defaults_of_zero(
        p, ("checks", "probe", "baselines", "stats", "records", "reports", "runs")
    ),
    "one name, one meaning": laws.twins,
    "the mathematics says what its arguments are": lambda p: laws.arguments_untold(p, MATHEMATICS),
    "functions say what they raise": laws.errors_untold,
    "the audit shares nothing with what it audits": lambda p: laws.apart(p, "reports.audit", ("records.paths",)),
}


@pytest.mark.parametrize("law", LAWS)
def test_law(law: str) -> None:
    assert LAWS[law](PACKAGE) == []


# One fault for each form a law has to see: files of a package, and what the law has to say of them.
FAULTS = {
    "from a package": ("imports point downwards", {"stats/x.py": "from pytest_entropy import probe\n"}, "stats/x.py:1"),
    "whole name": ("imports point downwards", {"stats/x.py": "import pytest_entropy.probe.probe\n"}, "stats/x.py:1"),
    "relative": ("imports point downwards", {"stats/x.py": "from ..probe import probe\n"}, "stats/x.py:1"),
    "by a text": (
        "imports point downwards",
        {"stats/x.py": "from importlib import import_module\nimport_module('pytest_entropy.probe.probe')\n"},
        "stats/x.py:2",
    ),
    "inside a function": (
        "imports point downwards",
        {"stats/x.py": "def f():\n    from pytest_entropy.probe.probe import g\n"},
        "stats/x.py:2",
    ),
    "an audit by what it audits": (
        "the audit shares nothing with what it audits",
        {"reports/audit/x.py": "from pytest_entropy.records.run import RunRecord\n"},
        "reports/audit/x.py:1",
    ),
    "for annotations": (
        "imports point downwards",
        {"stats/x.py": "if TYPE_CHECKING:\n    from pytest_entropy.probe.probe import g\n"},
        "stats/x.py:2",
    ),
    "a neighbour of the same floor": (
        "imports point downwards",
        {"stats/x.py": "from pytest_entropy.optimizers import y\n", "optimizers/y.py": ""},
        "stats/x.py:1",
    ),
    "a room of no floor": ("imports point downwards", {"attic/x.py": ""}, "attic stands on no floor"),
    "a circle inside a room": (
        "no circles",
        {"stats/x.py": "from pytest_entropy.stats import y\n", "stats/y.py": "def f():\n    from . import x\n"},
        "pytest_entropy.stats.x <-> pytest_entropy.stats.y",
    ),
    "torch in a function": (
        "no torch where numbers will do",
        {"checks/x.py": "def f():\n    import torch.nn\n"},
        "x.py:2",
    ),
    "pytest for annotations": (
        "pytest in the plugin only",
        {"runs/x.py": "if TYPE_CHECKING:\n    import pytest\n"},
        "runs/x.py:2",
    ),
    "transformers": (
        "transformers where models are loaded and run",
        {"probe/x.py": "import transformers\n"},
        "probe/x.py:1",
    ),
    "peft": ("peft where models are loaded and run", {"probe/x.py": "from peft.tuners import lora\n"}, "probe/x.py:1"),
    "matplotlib": ("matplotlib in reports only", {"checks/x.py": "import matplotlib.pyplot\n"}, "checks/x.py:1"),
    "jinja2": (
        "jinja2 in reports and templates",
        {"commands/x.py": "from jinja2 import Template\n"},
        "commands/x.py:1",
    ),
    "JSON": ("no files in the mathematics", {"probe/x.py": "import json\n"}, "probe/x.py:1"),
    "open": ("no files in the mathematics", {"policy/x.py": "def f(p):\n    return p.open()\n"}, "policy/x.py:2"),
    "the loader's reading": (
        "the second reading shares nothing with the loader",
        {"checkpoints/second_reading/x.py": "from pytest_entropy.checkpoints.formats import y\n"},
        "checkpoints/second_reading/x.py:1",
    ),
    "a long module": ("short modules and functions", {"stats/x.py": "x = 1\n" * 301}, "301 lines"),
    "a long function": (
        "short modules and functions",
        {"stats/x.py": "class A:\n    def f(self):\n" + "        x = 1\n" * 50},
        "f has 51 lines",
    ),
    "a drawer": ("modules say what they are for", {"stats/utils.py": ""}, "stats.utils is a drawer"),
    "no docstring": ("modules say what they are for", {"stats/x.py": "x = 1\n"}, "stats.x does not say"),
    "get": ("no measured number has a default of 0", {"checks/x.py": "a.get('gap', 0.0)\n"}, "checks/x.py:1"),
    "getattr": ("no measured number has a default of 0", {"runs/x.py": "getattr(a, 'gap', 0)\n"}, "runs/x.py:1"),
    "or": ("no measured number has a default of 0", {"reports/x.py": "x = a or 0.0\n"}, "reports/x.py:1"),
    "two returns": (
        "one name, one meaning",
        {"stats/x.py": "def f() -> int: ...\n", "runs/y.py": "def f() -> dict: ...\n"},
        "f: ",
    ),
    "two classes": (
        "one name, one meaning",
        {"stats/x.py": "class A: ...\n", "runs/y.py": "class A: ...\n"},
        "A: ",
    ),
    "an argument that is not told": (
        "the mathematics says what its arguments are",
        {
            "stats/x.py": "class A:\n    def f(self, a, *, b):\n        '''Of b.\n\n"
            "        Args:\n            a: nats.\n        '''\n"
        },
        "stats/x.py:2 f does not say what b is",
    ),
    "an error that is not told": (
        "functions say what they raise",
        {"runs/x.py": "def f():\n    '''Fail.'''\n    raise ValueError('no')\n"},
        "runs/x.py:1 f does not say what it raises",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_law_sees(tmp_path: Path, fault: str) -> None:
    law, files, says = FAULTS[fault]
    root = tmp_path / "pytest_entropy"
    for name in ("stats/__init__.py", "probe/__init__.py", "probe/probe.py", *files):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(files.get(name, '"""A room."""\n'))
    broken = LAWS[law](laws.Package(root))
    assert any(says in line for line in broken), broken


def test_every_law_is_seen_red() -> None:
    assert {law for law, _, _ in FAULTS.values()} == set(LAWS)


def test_a_reader_sees_the_whole_house_at_once() -> None:
    entries = [p for p in PACKAGE.root.iterdir() if p.name != "__pycache__"]
    assert len(entries) <= 22


def test_the_plugin_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pydantic", "yaml")
    code = f"import sys, pytest_entropy.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
