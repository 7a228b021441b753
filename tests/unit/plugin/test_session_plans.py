"""Where results and templates are, with a configuration file and without."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from pytest_entropy.plugin.session_plans import SessionPlans


@pytest.mark.parametrize("file", [None, Path("/project/pytest.ini")])
def test_without_a_configuration_file_results_are_in_the_working_directory(file: Path | None) -> None:
    """Pytest's root directory would be /runs/step_60 for --checkpoint /runs/step_60."""
    root = file.parent if file else Path("/runs/step_60")
    config = Mock(
        inipath=file, rootpath=root, **{"invocation_params.dir": Path("/here"), "getoption.return_value": None}
    )
    planner = SessionPlans(config, Mock(stamp="t"), Mock()).planner
    assert planner.results_root == (Path("/project/results") if file else Path("/here/results"))
