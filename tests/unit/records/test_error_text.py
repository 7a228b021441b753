"""The text of ``error.txt``, and the sentence that a user is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.records.error_text import (
    directory_in,
    in_words,
    reason_in,
    sentence_in,
    shown,
    text_of,
    text_of_dependent,
    traceback_in,
)

OLD = """session then
Traceback (most recent call last):
  File "store.py", line 1, in claim
    raise FailedRun(text)
pytest_entropy.runs.store.FailedRun: pytest_entropy.errors.RunError: reward raised KeyError: 'answer'
  prompt: 'Tom has 3 apples'
traceback: /results/update/error.txt
"""


def raised(error: Exception) -> str:
    """The text of a run that raised the error, with a cause, as a reward's error has."""
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise error from cause
    except Exception as caught:
        return text_of(caught, "now")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RunError("60 of 60 prompts are too long"), "60 of 60 prompts are too long"),
        (UsageError("there is no c; expected\n  - a: b"), "there is no c; expected\n  - a: b"),
        (UsageError("loading failed: sizes\ndiffer by\n\ttwo"), "loading failed: sizes\ndiffer by\n\ttwo"),
        (ValueError("no such luck"), "ValueError: no such luck"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_the_reason_is_the_message_with_the_type_of_what_is_no_users_mistake(error: Exception, reason: str) -> None:
    text = raised(error)
    assert reason_in(text) == reason
    assert sentence_in(text) == reason.splitlines()[0]
    assert text.startswith("session now\nTraceback (most recent call last):\n")
    assert traceback_in(text) == text.removeprefix("session now\n")
    assert directory_in(text) is None


def test_a_dependents_text_is_one_line_that_names_the_directory() -> None:
    text = text_of_dependent("update", "now")
    assert text == "session now\nsee update/error.txt\n"
    assert directory_in(text) == "update"
    assert reason_in(text) == "see update/error.txt"
    assert traceback_in(text) == ""


@pytest.mark.parametrize("directory", ["update", "update_002"])
def test_each_of_several_update_batches_is_called_one(directory: str) -> None:
    assert in_words(directory) == "the update batch"
    assert in_words("BE016_run001") == "BE016_run001"


def test_texts_of_earlier_versions_are_read() -> None:
    assert reason_in(OLD) == "reward raised KeyError: 'answer'\n  prompt: 'Tom has 3 apples'"
    assert sentence_in("session x\nOSError: caf\n") == "OSError: caf"
    assert sentence_in("") == "no message"


def test_a_path_is_shown_as_the_user_would_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "results" / "x") == "results/x"
    assert shown(Path("results/x")) == "results/x"
    assert shown(Path("/elsewhere/x")) == "/elsewhere/x"
