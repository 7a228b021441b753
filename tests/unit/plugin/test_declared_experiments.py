"""What the controller, which collects nothing, finds by the names on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_entropy.plugin import declared_experiments

MODULE = 'import pytest\npytestmark = pytest.mark.entropy_experiment("mine", seed=3)\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a user's own, whose import would be an error."""
    place = tmp_path / "of_a_user" / "inner"
    place.mkdir(parents=True)
    (place.parent / "__init__.py").write_text("raise AssertionError('imported')\n")
    (place / "test_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return place


def found(arguments: list[str], *, pyargs: bool, directory: Path) -> list[tuple[str, str, dict[str, Any]]]:
    config = Mock(args=arguments, **{"option.pyargs": pyargs, "invocation_params.dir": directory})
    config.getini.side_effect = {"python_files": ["test_*.py"], "norecursedirs": [".*"]}.__getitem__
    return [(name, path.name, more) for name, path, more in declared_experiments.declared_experiments(config)]


@pytest.mark.parametrize("name", ["of_a_user", "of_a_user.inner", "of_a_user.inner.test_mine::test_run", "of_a_user/"])
def test_modules_named_by_package_are_read_and_not_imported(package: Path, name: str) -> None:
    assert found([name], pyargs=True, directory=package.parents[1]) == [("mine", "test_mine.py", {"seed": 3})]
    assert "of_a_user" not in sys.modules


@pytest.mark.parametrize("name", ["of_a_user.inner", "no_such_package", "..", ""])
def test_what_is_no_module_is_a_path(package: Path, name: str) -> None:
    (package / "empty").mkdir()
    assert found([name], pyargs=name != "of_a_user.inner", directory=package / "empty") == (
        [("mine", "test_mine.py", {"seed": 3})] if name == ".." else []
    )


def test_installed_experiments_are_found_by_their_package(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared_experiments, "installed_experiments", lambda: package)
    for name in ("pytest_entropy.experiments", "pytest_entropy.experiments.test_mine::test_run"):
        assert found([name], pyargs=True, directory=package) == [("mine", "test_mine.py", {"seed": 3})]
    monkeypatch.setattr(declared_experiments, "installed_experiments", lambda: None)
    assert found(["pytest_entropy.experiments"], pyargs=True, directory=package) == []
