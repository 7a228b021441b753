"""Tests of installed experiments have one name, wherever the package lies and however they are selected."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_entropy.plugin import item_names
from tests.conftest import ROOT

MODULE = "installed/pytest_entropy/experiments/test_debug.py"


class Names:
    """Collects the names of a session's items."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.ids += [item.nodeid for item in items]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--pyargs", MODULE], "pytest_entropy/experiments/test_debug.py::test_report"),
        (["--pyargs", "installed"], "pytest_entropy/experiments/test_debug.py::test_report"),
        ([MODULE], f"{MODULE}::test_report"),
    ],
)
def test_ids_are_those_of_the_package(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    place = Path(pytester.path) / Path(MODULE).parent
    place.mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "test_debug.py", place)
    monkeypatch.setattr(item_names, "installed_experiments", lambda: place)
    names = Names()
    done = pytester.inline_run(
        "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments, plugins=[names]
    )
    assert done.ret == 0
    assert names.ids[-1] == expected
