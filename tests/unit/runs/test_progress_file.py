"""The file in which a process says what it works on: there while it does, gone afterwards, never in the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_entropy.records import phases
from pytest_entropy.records.paths import LOCKS
from pytest_entropy.runs.progress_file import STALE, SUFFIX, ProgressFile, Working, remove_stale, working

SOON = 0.01


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    (tmp_path / LOCKS).mkdir()
    return tmp_path


def files(experiment: Path) -> list[Path]:
    return sorted((experiment / LOCKS).glob(f"*{SUFFIX}"))


def until_written(experiment: Path) -> Working:
    """What is written once anything is; the thread has no schedule that a test could rely on."""
    for _ in range(3000):
        if found := list(working([experiment])):
            return found[0]
        time.sleep(SOON)
    raise AssertionError("nothing was written")


def test_a_phase_is_written_while_it_lasts(experiment: Path) -> None:
    file = ProgressFile("gw1", every=SOON)
    file.start()
    with phases.working_on(experiment / "BE008_run003"), phases.entered("derivatives", 4096):
        phases.report(1024)
        found = until_written(experiment)
        assert (found.worker, found.work, found.phase) == ("gw1", "BE008_run003", "derivatives")
        assert (found.tokens, found.passes, found.done) == (4096, 1, 1024)
    file.close()
    assert files(experiment) == []


def test_work_outside_of_a_store_and_a_removed_directory_are_no_trouble(tmp_path: Path) -> None:
    file = ProgressFile("", every=SOON)
    file.start()
    with phases.entered("sampling", 10):
        time.sleep(5 * SOON)
    with phases.working_on(tmp_path / "gone" / "BE008_run001"), phases.entered("sampling", 10):
        time.sleep(5 * SOON)
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_not_shown_and_removed(experiment: Path) -> None:
    left = experiment / LOCKS / f"gw0.1{SUFFIX}"
    left.write_text('{"worker": "gw0", "work": "update", "phase": "reward", "tokens": null, "passes": 1, "done": 0, '
                    '"started": 0.0}')  # fmt: skip
    assert len(list(working([experiment]))) == 1
    remove_stale([experiment])
    assert files(experiment) == [left]
    long_ago = time.time() - STALE - 1
    os.utime(left, (long_ago, long_ago))
    assert list(working([experiment])) == []
    remove_stale([experiment])
    assert files(experiment) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"another": "version"}'])
def test_a_file_that_cannot_be_read_is_left_out(experiment: Path, text: str) -> None:
    (experiment / LOCKS / f"gw0.1{SUFFIX}").write_text(text)
    assert list(working([experiment, experiment / "missing"])) == []
