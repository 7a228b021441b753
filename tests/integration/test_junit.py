"""JUnit files: what items measured, in each family, against the schema, and when a worker dies."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import xmlschema

from pytest_entropy.reports.junit import keep_to_xunit2
from tests.conftest import Workspace

FAMILIES = ("xunit1", "xunit2", "legacy")
SCHEMA = xmlschema.XMLSchema(str(Path(__file__).with_name("xunit2.xsd")))


def properties(file: Path) -> dict[str, str]:
    """Properties by item and name, from the suite or from the test cases, wherever they are."""
    root = ET.parse(file).getroot()
    found = {str(p.get("name")): str(p.get("value")) for p in root.findall("*/properties/property")}
    for case in root.iter("testcase"):
        item = f"{case.get('classname')}::{case.get('name')}"
        found |= {f"{item}::{p.get('name')}": str(p.get("value")) for p in case.findall("properties/property")}
    return found


def test_the_schema_refuses_properties_in_a_test_case_and_takes_them_in_the_suite(tmp_path: Path) -> None:
    inside = (
        '<testsuites><testsuite name="s" tests="1" failures="0" errors="0" time="0.1"><testcase classname="c" name="t">'
        '<properties><property name="entropy_experiment" value="x"/></properties></testcase></testsuite></testsuites>'
    )
    file = tmp_path / "junit.xml"
    file.write_text(inside)
    assert not SCHEMA.is_valid(str(file))
    assert keep_to_xunit2(file) == 1
    SCHEMA.validate(str(file))


RUN = "experiments.test_single_run::test_run[BE006-run001]"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_every_family_has_the_numbers_and_xunit2_its_schema(workspace: Workspace, workers: str) -> None:
    for family in FAMILIES:
        file = workspace.path / f"{family}.xml"
        # The first computes the run, the others read it.
        done = workspace.run(
            *workspace.single, workers, "--resume", f"--junitxml={file}", "-o", f"junit_family={family}"
        )
        assert done.returncode == 0, done.stdout
        assert SCHEMA.is_valid(str(file)) == (family == "xunit2"), family
        values = properties(file)
        (delta,) = workspace.deltas().values()
        assert float(values[f"{RUN}::delta_h1"]) == delta
        for name in ("se_conditional", "signal_to_noise", "seconds", "peak_memory_mb"):
            assert float(values[f"{RUN}::{name}"]) > 0
        cases = [case for case in ET.parse(file).iter("testcase") if case.find("properties") is not None]
        assert bool(cases) == (family != "xunit2"), "properties are in the suite under xunit2, else in the test case"


KILLER = """
import os, signal, pytest
pytestmark = pytest.mark.entropy_experiment('killer')
def test_run(probe_run):
    if probe_run.run == 3 and not os.path.exists('killed'):
        open('killed', 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_crashed_workers_finished_items_keep_their_properties(workspace: Workspace) -> None:
    (workspace.path / "test_killer.py").write_text(KILLER)
    arguments = ["test_killer.py", *workspace.small, "--be-values=4", "--runs=3", "-n1"]
    for family in FAMILIES:
        (workspace.path / "killed").unlink(missing_ok=True)
        file = workspace.path / f"{family}.xml"
        done = workspace.run(*arguments, "--resume", f"--junitxml={file}", "-o", f"junit_family={family}")
        assert done.returncode == 1, done.stdout
        if family == "xunit2":
            SCHEMA.validate(str(file))
        values, deltas = properties(file), workspace.deltas()
        for run in ("run001", "run002"):
            assert float(values[f"test_killer::test_run[BE004-{run}]::delta_h1"]) == deltas[f"killer/BE004_{run}"]
        crashed = [case for case in ET.parse(file).iter("testcase") if case.find("error") is not None]
        assert [case.get("name") for case in crashed] == ["test_run[BE004-run003]"]
