"""A user's mistake is one sentence: in the item, in the summary and in JUnit, with the traceback in ``error.txt``."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.conftest import Workspace

# Runs that cost nothing: an executor that asks for the update as the real one does, and never loads a model.
CHEAP = """
import pytest_entropy.runs.execution as execution
from pytest_entropy.errors import RunError
from pytest_entropy.runs.executors.base import Executor


class Cheap(Executor):
    def choose_device(self, device):
        pass

    def compute(self, spec, place, directory):
        {compute}


def fail(*_, **__):
    raise {error}


execution.compute_update = fail


def pytest_entropy_register(registry):
    registry.add("executors", "cheap", Cheap)
"""
MISTAKE = "RunError(\"reward r raised KeyError: 'answer'\\n  prompt: 'Tom has 3 apples'\")"
FRAMES = re.compile(r"^(E  |>  |.*\.py:\d+: |The above exception)", re.MULTILINE)


def failing(workspace: Workspace, compute: str, error: str, *more: str) -> str:
    """What the terminal shows of a session whose runs fail."""
    (workspace.path / "conftest.py").write_text(CHEAP.format(compute=compute, error=error))
    done = workspace.run(*workspace.scaling, "--entropy-executor=cheap", *more)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def items_of(text: str) -> dict[str, str]:
    """The section of each failed item in pytest's FAILURES, by the item's name."""
    failures = re.split(r"\n(?:-+ generated xml|=+ entropy)", text.partition("= FAILURES =")[2])[0]
    parts = re.split(r"^_{3,} (\S+) _{3,}$", failures, flags=re.MULTILINE)
    return {name: " ".join(body.splitlines()).strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("style", ["auto", "long"])
def test_a_failed_update_batch_is_one_sentence_and_the_items_that_need_it_refer_to_it(
    workspace: Workspace, style: str
) -> None:
    file = workspace.path / "junit.xml"
    text = failing(workspace, "place.update(spec)", MISTAKE, f"--tb={style}", f"--junitxml={file}")
    (error,) = workspace.results.rglob("update/error.txt")
    items = items_of(text)
    assert items.pop("test_run[BE004-run001]") == (
        "the update batch failed: reward r raised KeyError: 'answer'   prompt: 'Tom has 3 apples' "
        f"traceback: {error.relative_to(workspace.path)}"
    )
    for name in ("test_run[BE004-run002]", "test_run[BE008-run001]", "test_run[BE008-run002]"):
        assert items.pop(name) == "the update batch failed: see update/error.txt"
    needs = "needs the runs BE004-run001, BE004-run002, BE008-run001, BE008-run002, which failed: see update/error.txt"
    assert set(items.values()) == {needs}
    assert not FRAMES.search(text), text
    summary = text.partition("= entropy =")[2].partition("= short test summary")[0]
    assert summary.count("the update batch failed: reward r raised KeyError: 'answer'") == 1
    assert "Traceback (most recent call last):" in error.read_text()
    messages = [str(failure.text) for failure in ElementTree.parse(file).getroot().iter("failure")]
    assert len(messages) == 7
    assert not any(FRAMES.search(message) for message in messages)
    report = next(workspace.results.rglob("report.html")).read_text()
    assert "4 of 4 runs gave no result: reward r raised KeyError" in report
    assert report.count("Traceback (most recent call last)") == 1


def test_an_exception_that_is_no_users_mistake_has_its_type_and_the_path_of_its_traceback(workspace: Workspace) -> None:
    text = failing(workspace, "raise RuntimeError('the machine caught fire')", MISTAKE)
    (error,) = workspace.results.rglob("BE008_run002/error.txt")
    assert items_of(text)["test_run[BE008-run002]"] == (
        f"RuntimeError: the machine caught fire traceback: {error.relative_to(workspace.path)}"
    )
    assert items_of(text)["test_bookkeeping"] == (
        "needs the runs BE004-run001, BE004-run002, BE008-run001, BE008-run002, which failed: "
        "see BE004_run001/error.txt, BE004_run002/error.txt, BE008_run001/error.txt, BE008_run002/error.txt"
    )
    assert not FRAMES.search(text), text
    # The same reason of four runs is said once.
    summary = text.partition("= entropy =")[2].partition("= short test summary")[0]
    assert "BE004_run001 failed: RuntimeError: the machine caught fire" in summary
    assert summary.count("the machine caught fire") == 1
    assert 'conftest.py", line' in Path(error).read_text()
