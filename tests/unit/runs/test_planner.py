"""Where planning looks for an experiment's template."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.runs import planner
from pytest_entropy.runs.planner import Planner, SessionRequest

# Where a template can lie, the first one first: of a module in a project, and of an installed experiment.
PLACES = {
    "project": ["project/experiments/configs", "project/configs", "root/configs"],
    "installed": ["root/configs", "site/pytest_entropy/experiments/configs"],
}


@pytest.mark.parametrize("which", PLACES)
def test_templates_are_taken_from_the_first_place_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    installed = tmp_path / "site" / "pytest_entropy" / "experiments"
    monkeypatch.setattr(planner, "installed_experiments", lambda: installed)
    module = (installed if which == "installed" else tmp_path / "project" / "experiments") / "test_debug.py"
    own = Planner(SessionRequest(tmp_path / "root"), "t")
    assert own._template("debug", module) is None
    for place in reversed(PLACES[which]):
        template = tmp_path / place / "debug.yaml"
        template.parent.mkdir(parents=True)
        template.write_text("seed: 1\n")
        assert own._template("debug", module) == template
