"""Make JUnit XML say each item once, and valid by the xunit2 schema: measurements move to the suite."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

from pytest_entropy.records.files import write_text

MARK = "entropy_experiment"


# What a test case holds that has not passed.
OUTCOMES = ("failure", "error", "skipped")


def drop_earlier_attempts(path: Path) -> int:
    """Remove the test cases of attempts that another attempt at the same experiment's item follows.

    pytest writes them without an outcome, which readers take for passed, and does not count them in ``tests``.

    Returns:
        The number of test cases that were removed.
    """
    tree = ET.parse(path)
    removed = 0
    for suite in tree.getroot().iter("testsuite"):
        last = {_item_of(case): case for case in suite.findall("testcase")}
        for case in suite.findall("testcase"):
            final = last[_item_of(case)]
            of_experiment = any(entry.get("name") == MARK for entry in final.iterfind("properties/property"))
            if case is not final and of_experiment and all(case.find(outcome) is None for outcome in OUTCOMES):
                suite.remove(case)
                removed += 1
    if removed:
        _write(tree, path)
    return removed


def _item_of(case: ET.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def _write(tree: ET.ElementTree[ET.Element], path: Path) -> None:
    stream = io.StringIO()
    tree.write(stream, encoding="unicode", xml_declaration=False)
    write_text(path, '<?xml version="1.0" encoding="utf-8"?>' + stream.getvalue())


def keep_to_xunit2(path: Path) -> int:
    """Move the ``<properties>`` of experiments' test cases, which xunit2 forbids there, to their ``<testsuite>``.

    A property ``delta_h1`` of the item ``test_run[BE016-run001]`` becomes the suite's property
    ``experiments.test_batch_scaling::test_run[BE016-run001]::delta_h1``.  Other tests' properties stay.

    Returns:
        The number of properties that were moved.
    """
    tree = ET.parse(path)
    moved = 0
    for suite in tree.getroot().iter("testsuite"):
        gathered = suite.find("properties")
        # By item: one that was executed again has a test case per attempt, of which the last one's measurements count.
        found: dict[str, ET.Element] = {}
        for case in suite.findall("testcase"):
            for properties in case.findall("properties"):
                if any(entry.get("name") == MARK for entry in properties):
                    found[_item_of(case)] = properties
                    case.remove(properties)
        if not found:
            continue
        if gathered is None:
            gathered = ET.Element("properties")
            suite.insert(0, gathered)
        for item, properties in found.items():
            for entry in properties:
                name, value = f"{item}::{entry.get('name')}", entry.get("value", "")
                ET.SubElement(gathered, "property", name=name, value=value)
                moved += 1
    if moved:
        _write(tree, path)
    return moved
