"""constraints-lowest.txt pins every lower bound of pyproject.toml: the lowest versions promised are those CI tests."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def versions(requirements: Iterable[str], operator: str) -> dict[str, set[Version | None]]:
    """Return each package's versions after ``operator``; None stands for a requirement without exactly one."""
    found: dict[str, set[Version | None]] = defaultdict(set)
    for requirement in map(Requirement, requirements):
        stated = [Version(clause.version) for clause in requirement.specifier if clause.operator == operator]
        found[canonicalize_name(requirement.name)].add(stated[0] if len(stated) == 1 else None)
    return dict(found)


def disagreements(pyproject: str, constraints: str) -> list[str]:
    """Name the dependencies whose lower bound, in any group, is not the version that the constraints pin."""
    project = tomllib.loads(pyproject)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = versions((entry for group in groups for entry in group), ">=")
    # The package's own extras, which one of them names.
    bounds.pop(project["name"], None)
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    pins = versions(filter(None, lines), "==")
    names = sorted(bounds.keys() | pins.keys())
    return [name for name in names if bounds.get(name) != pins.get(name) or None in bounds[name]]


def test_lower_bounds_are_what_is_tested() -> None:
    pyproject, constraints = ((ROOT / name).read_text() for name in ("pyproject.toml", "constraints-lowest.txt"))
    assert disagreements(pyproject, constraints) == []


PYPROJECT = """
[project]
name = "mine"
dependencies = ["one>=1.0", "Two_Words>=2,<9"]
[project.optional-dependencies]
extra = ["one>=1.0"]
dev = ["mine[extra]", "three>=3.1"]
"""
CONSTRAINTS = "# pins\none==1.0.0\ntwo-words==2  # a comment\nthree==3.1\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("pyproject", "one", "one", []),
        ("pyproject", "three>=3.1", "three>=3.2", ["three"]),
        ("pyproject", "three>=3.1", "three", ["three"]),
        ("pyproject", 'extra = ["one>=1.0"]', 'extra = ["one>=1.1"]', ["one"]),
        ("pyproject", '"three>=3.1"', '"three>=3.1", "four>=4"', ["four"]),
        ("constraints", "one==1.0.0", "one==1.0.1", ["one"]),
        ("constraints", "three==3.1", "three>=3.1", ["three"]),
        ("constraints", "three==3.1", "", ["three"]),
        ("constraints", "three==3.1", "three==3.1\nfour==4", ["four"]),
    ],
)
def test_a_bound_that_is_not_tested_is_named(file: str, old: str, new: str, named: list[str]) -> None:
    texts = {"pyproject": PYPROJECT, "constraints": CONSTRAINTS}
    texts[file] = texts[file].replace(old, new)
    assert disagreements(**texts) == named
