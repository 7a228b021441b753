"""JUnit's file and the live line against the runs: read back from what is written."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.audit.items import item_numbers, junit_items, live_line_numbers
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.stored_run import StoredRun, look_before, read_stored
from pytest_entropy.reports.junit import drop_earlier_attempts, keep_to_xunit2
from pytest_entropy.reports.terminal import live_line
from pytest_entropy.runs.run_files import read_run
from tests.present import present
from tests.unit.reports.stored import store_experiment


def runs_of(directory: Path) -> dict[tuple[int, int], StoredRun]:
    found = read_stored(directory, sorted(look_before(directory).runs))
    return {run.order: run for run in found.values()}


def junit(directory: Path, file: Path) -> None:
    """What pytest writes of the runs' items, with a failed one and a test of somebody else."""
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", name="pytest")
    for run in runs_of(directory).values():
        name = f"test_run[BE{run.order[0]:03d}-run{run.order[1]:03d}]"
        case = ET.SubElement(suite, "testcase", classname="experiments.test_x", name=name)
        properties = ET.SubElement(case, "properties")
        reports = (
            ItemReport(experiment="batch_scaling", directory=str(directory)),
            ItemReport.of_run(read_run(directory / run.directory), stored=False),
        )
        for key, value in [pair for report in reports for pair in report.to_properties()] + [("seconds", "mine")]:
            ET.SubElement(properties, "property", name=key, value=str(value))
    failed = ET.SubElement(suite, "testcase", classname="experiments.test_x", name="test_run[BE064-run001]")
    properties = ET.SubElement(failed, "properties")
    for key, value in (("entropy_experiment", "batch_scaling"), ("entropy_directory", str(directory)), ("B_E", "64")):
        ET.SubElement(properties, "property", name=key, value=value)
    ET.SubElement(suite, "testcase", classname="other", name="test_other")
    ET.ElementTree(root).write(file, encoding="unicode")


def found(directory: Path, file: Path) -> list[str]:
    ledger = Ledger()
    for item in junit_items(file):
        item_numbers(ledger, file.name, item, runs_of(directory))
    return ledger.lines()


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_the_file_agrees_and_a_changed_property_is_named(tmp_path: Path, family: str) -> None:
    directory, file = store_experiment(tmp_path), tmp_path / "junit.xml"
    junit(directory, file)
    if family == "xunit2":
        keep_to_xunit2(file)
    assert found(directory, file) == []
    text = file.read_text()
    for pattern, by, words in (
        (r'(delta_h1" value=")-', r"\1", "delta_h1 of B_E 8 run 1 is 0"),
        (r'(seconds" value=")0', r"\1 7", "seconds of B_E 8 run 1 is 7"),
        (r'(::|name=")run" value="1"', r'\1run" value="2"', "has the numbers of B_E 8 run 2"),
        (r'(unit" value=")nats per response', r"\1nats per token", "unit of B_E 8 run 1"),
    ):
        changed = re.sub(pattern, by, text, count=1)
        assert changed != text
        file.write_text(changed)
        assert any(words in line for line in found(directory, file)), found(directory, file)


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_of_an_item_that_was_executed_again_the_last_numbers_count(tmp_path: Path, family: str) -> None:
    """pytest writes a test case per attempt; the first ones have the properties of a run without a result."""
    directory, file = store_experiment(tmp_path), tmp_path / "junit.xml"
    junit(directory, file)
    tree = ET.parse(file)
    suite = present(tree.getroot().find("testsuite"))
    last = present(suite.find("testcase"))
    for reason in ("judge call 2", "judge call 1"):
        first = ET.Element("testcase", dict(last.attrib))
        properties = ET.SubElement(first, "properties")
        for key, value in (
            ("entropy_experiment", "batch_scaling"), ("entropy_directory", str(directory)), ("B_E", "8"), ("run", "1"),
            ("entropy_reason", reason),
        ):  # fmt: skip
            ET.SubElement(properties, "property", name=key, value=value)
        suite.insert(0, first)
    tree.write(file, encoding="unicode")
    assert found(directory, file) == []
    before = len(tree.findall("*/testcase"))
    assert drop_earlier_attempts(file) == 2
    assert len(ET.parse(file).findall("*/testcase")) == before - 2
    assert drop_earlier_attempts(file) == 0
    if family == "xunit2":
        keep_to_xunit2(file)
        names = [str(one.get("name")) for one in ET.parse(file).getroot().iterfind("testsuite/properties/property")]
        assert len([name for name in names if not name.endswith("seconds")]) == len(
            {name for name in names if not name.endswith("seconds")}
        )
        assert "judge call" not in file.read_text()
    (item,) = (item for item in junit_items(file) if item.name.endswith("[BE008-run001]"))
    assert item.order == (8, 1)
    assert found(directory, file) == []


def test_failed_test_cases_and_those_of_other_tests_stay(tmp_path: Path) -> None:
    mine = '<properties><property name="entropy_experiment" value="x"/></properties>'
    case = '<testcase classname="c" name="{}">{}</testcase>'
    cases = [
        case.format("test_run", "<failure/>"), case.format("test_run", mine),
        case.format("test_other", ""), case.format("test_other", "<failure/>"),
    ]  # fmt: skip
    file = tmp_path / "junit.xml"
    file.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert drop_earlier_attempts(file) == 0


def test_the_line_of_a_finished_run(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    run = runs_of(directory)[8, 1]
    line = live_line(ItemReport.of_run(read_run(directory / run.directory), stored=False))
    for shown, expected in ((line, 0), (line.replace("-", "", 1), 1), (line.replace("± 0.00", "± 0.01"), 1)):
        ledger = Ledger()
        live_line_numbers(ledger, shown, run)
        assert len(ledger.lines()) == expected, shown
