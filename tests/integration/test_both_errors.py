"""One session whose run knows both its errors: the terminal, the -v line, JUnit in both families, and every file."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.stats import format_error, format_measure
from tests.conftest import Workspace
from tests.integration.test_junit import RUN, SCHEMA, properties
from tests.integration.test_reports import entropy_section


@pytest.fixture
def session(workspace: Workspace) -> tuple[Workspace, str, dict[str, Any], Path]:
    """The single run, whose template asks for the total variance, and what it stored."""
    file = workspace.path / "xunit2.xml"
    done = workspace.run(*workspace.single, "-v", f"--junitxml={file}", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout
    (stored,) = (workspace.results / "single_run").rglob("results.json")
    return workspace, done.stdout, json.loads(stored.read_text()), stored.parents[1]


@pytest.mark.slow
def test_both_errors_are_shown_and_kept_wherever_the_measurement_is(
    session: tuple[Workspace, str, dict[str, Any], Path],
) -> None:
    workspace, output, run, directory = session
    # Chosen so that the estimate is positive; a negative one is in the unit tests.
    assert run["se_total"] > 0
    measure, second = format_measure(run["delta_h1"], run["se_conditional"]), f"± {format_error(run['se_total'])}"
    both = f"δH₁ = {measure} for this update batch, {second} over update batches"
    assert f"PASSED {both}, " in output
    section = entropy_section(output)
    assert any(re.fullmatch(rf" +6 +1  {re.escape(measure)} +{re.escape(second)} .*", line) for line in section)
    words = " ".join(line.strip() for line in section)
    assert "± SE: for this update batch U; ± over U: over update batches" in words
    assert both in words
    assert "falls by -" not in words
    for name in ("report.html", "summary.md", "summary.json"):
        assert both in (directory / name).read_text(), name
    (index,) = workspace.results.glob("sessions/*/index.html")
    assert both in index.read_text()
    with (directory / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (float(row["se_conditional"]), float(row["se_total"])) == (run["se_conditional"], run["se_total"])
    (result,) = json.loads((directory / "single_test_results.json").read_text())["results"]
    assert (result["se_conditional"], result["se_total"]) == (run["se_conditional"], run["se_total"])
    assert both.removeprefix("δH₁ = ") in (directory / "BE006_BU4" / "probe_log.txt").read_text()
    xunit1 = workspace.path / "xunit1.xml"
    again = workspace.run(
        *workspace.single, "-k", "test_run", "--resume", f"--junitxml={xunit1}", "-o", "junit_family=xunit1",
        "-p", "no:xdist",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout
    SCHEMA.validate(str(workspace.path / "xunit2.xml"))
    for family in ("xunit1", "xunit2"):
        values = properties(workspace.path / f"{family}.xml")
        assert float(values[f"{RUN}::se_total"]) == run["se_total"], family
