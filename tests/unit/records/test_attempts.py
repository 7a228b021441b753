"""The errors of earlier attempts: kept in order, readable, and of one session or of all."""

from __future__ import annotations

from pathlib import Path

from pytest_entropy.records.attempts import attempts_in, earlier_errors, earlier_reasons, failures_of_session
from pytest_entropy.records.attempts import keep_errors as keep
from pytest_entropy.records.error_text import directory_in, kept_text, sentence_in, text_of_dependent, text_of_killed


def failed(directory: Path, stamp: str, reason: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "error.txt").write_text(f"session {stamp}\nValueError: {reason}\n")
    return directory


def test_a_directory_that_was_computed_at_once_has_one_attempt_and_no_further_file(tmp_path: Path) -> None:
    keep(tmp_path / "nothing", tmp_path)
    assert (attempts_in(tmp_path), earlier_errors(tmp_path), list(tmp_path.iterdir())) == (1, [], [])


def test_errors_are_kept_in_the_order_of_the_attempts(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    failed(first, "now", "one")
    failed(second, "now", "two")
    third.mkdir()
    keep(first, second)
    keep(second, third)
    assert earlier_errors(third) == ["error_1.txt", "error_2.txt"]
    assert [sentence_in((third / name).read_text()) for name in earlier_errors(third)] == [
        "ValueError: one",
        "ValueError: two",
    ]
    assert attempts_in(third) == 3
    assert earlier_reasons(tmp_path) == {"b": ["ValueError: one"], "c": ["ValueError: one", "ValueError: two"]}


def test_failures_are_counted_back_to_the_session_before(tmp_path: Path) -> None:
    for n, stamp in enumerate(("yesterday", "now"), start=1):
        (failed(tmp_path, stamp, str(n)) / "error.txt").rename(tmp_path / f"error_{n}.txt")
    assert failures_of_session(tmp_path, "now") == 0
    failed(tmp_path, "now", "3")
    assert failures_of_session(tmp_path, "now") == 2
    assert failures_of_session(tmp_path, "yesterday") == 0


def test_a_dependents_kept_error_names_the_kept_error_it_depended_on() -> None:
    for attempt, kept in ((1, "see update/error_1.txt"), (3, "see update/error_3.txt")):
        text = text_of_dependent("update", "now", attempt)
        assert directory_in(text) == directory_in(kept_text(text)) == "update"
        assert kept_text(text) == f"session now\n{kept}\n"
    assert text_of_dependent("update", "now") == "session now\nsee update/error.txt\n"
    assert kept_text("session now\nValueError: no\n") == "session now\nValueError: no\n"


def test_a_killed_attempt_says_so_after_the_end_of_its_log(tmp_path: Path) -> None:
    text = text_of_killed('drawing responses\n  File "x.py", line 3\nValueError: caught\n')
    assert sentence_in(text) == "the process that computed it was killed; above is the end of its log"
    assert "drawing responses" in text
    failed(tmp_path / "old", "now", "one")
    (tmp_path / "new").mkdir()
    keep(tmp_path / "old", tmp_path / "new", text)
    assert (tmp_path / "new" / "error_2.txt").read_text() == text
    # It is no failure of this session's, by which a run would not be computed.
    assert failures_of_session(tmp_path / "new", "now") == 0
