"""The run store: once, whole, and shared."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
import warnings
import weakref
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from pytest_entropy.errors import RunError
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.results_directory import claim_stamp, find_resumable, withdraw_stamp
from pytest_entropy.runs.store import FailedRun, NeededRunsFailed, News, RunStore
from tests.present import present


def store(directory: Path, stamp: str = "now") -> RunStore:
    return RunStore(directory, {"schema_version": 1, "experiment": "x"}, stamp, logging.INFO)


def obtain(
    of: RunStore, name: str, config: str, work: Callable[[Path], object], read: Callable[[Path], dict[str, int]]
) -> tuple[dict[str, int], bool]:
    """As whoever needs a run does: computed under the claim where it is not there, then read."""
    with of.claim(name, config) as place:
        if place is not None:
            work(place)
    return read(of.path(name)), place is None


def compute(place: Path) -> None:
    logging.getLogger("pytest_entropy.test").info("computing")
    write_json(place / "results.json", {"pid": os.getpid()})


def read(place: Path) -> dict[str, int]:
    record: dict[str, int] = read_json(place / "results.json")
    return record


def test_a_run_is_computed_once_and_then_read(tmp_path: Path) -> None:
    first, there = obtain(store(tmp_path), "run", "a: 1\n", compute, read)
    again, there_again = obtain(store(tmp_path), "run", "a: 1\n", lambda place: pytest.fail("computed twice"), read)
    assert (first, there, there_again) == (again, False, True)
    assert (tmp_path / "run" / "config.yaml").read_text() == "a: 1\n"
    assert "computing" in (tmp_path / "run" / "probe_log.txt").read_text()


@pytest.mark.filterwarnings("error")
def test_a_librarys_warning_is_logged_and_fails_nothing(tmp_path: Path) -> None:
    def warn(place: Path) -> None:
        warnings.warn("renamed in the next version", FutureWarning, stacklevel=1)
        compute(place)

    obtain(store(tmp_path), "run", "", warn, read)
    assert "FutureWarning: renamed in the next version" in (tmp_path / "run" / "probe_log.txt").read_text()


def slow(directory: str, counter: str) -> None:
    def work(place: Path) -> None:
        with open(counter, "a") as stream:
            stream.write("x")
        time.sleep(0.3)
        compute(place)

    obtain(store(Path(directory)), "run", "", work, read)


def test_processes_wait_for_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    counter = tmp_path / "count"
    others = [context.Process(target=slow, args=(str(tmp_path / "e"), str(counter))) for _ in range(3)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    assert [process.exitcode for process in others] == [0, 0, 0]
    assert counter.read_text() == "x"


def test_a_failure_leaves_its_evidence_and_is_not_repeated_within_the_session(tmp_path: Path) -> None:
    def fail(place: Path) -> None:
        write_json(place / "half.json", {})
        raise ValueError("no such luck")

    with pytest.raises(FailedRun, match="ValueError: no such luck"):
        obtain(store(tmp_path), "run", "", fail, read)
    assert "no such luck" in (tmp_path / "run" / "error.txt").read_text()
    with pytest.raises(FailedRun, match="no such luck"):
        obtain(store(tmp_path), "run", "", lambda place: pytest.fail("computed again"), read)
    result, there = obtain(store(tmp_path, "later"), "run", "", compute, read)
    assert not there
    assert not (tmp_path / "run" / "error.txt").exists()
    assert result["pid"] == os.getpid()


def failing_update(of: RunStore, name: str) -> FailedRun:
    """The failure of a run that needs the update, which fails."""

    def compute_run(place: Path) -> None:
        with of.claim("update", "", done="update.json"):
            raise RunError("reward r raised KeyError: 'answer'\n  prompt: 'Tom'")

    with pytest.raises(FailedRun) as caught:
        obtain(of, name, "", compute_run, read)
    return caught.value


def test_a_failed_update_is_said_once_and_its_runs_refer_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of = store(tmp_path / "e")
    first, second, first_again = (failing_update(of, name) for name in ("BE004_run001", "BE004_run002", "BE004_run001"))
    assert first.message == (
        "the update batch failed: reward r raised KeyError: 'answer'\n  prompt: 'Tom'\ntraceback: e/update/error.txt"
    )
    assert first.news == News("the update batch failed", "reward r raised KeyError: 'answer'")
    assert second.message == first_again.message == "the update batch failed: see update/error.txt"
    # Elsewhere than in an item, such as in the sanity check's summary, the reason stays.
    assert str(second) == first.message
    assert (second.news, second.reason) == (None, "reward r raised KeyError: 'answer'\n  prompt: 'Tom'")
    assert "Traceback" in (tmp_path / "e" / "update" / "error.txt").read_text()
    for name in ("BE004_run001", "BE004_run002"):
        assert (tmp_path / "e" / name / "error.txt").read_text() == "session now\nsee update/error.txt\n"


def fail_once_more(of: RunStore, attempt: int, words: str, name: str = "run") -> FailedRun:
    """The failure of the run for an item at its ``attempt``; its block raises ``words``."""
    try:
        with of.claim(name, "", attempt=attempt):
            raise ValueError(words)
    except FailedRun as failure:
        return failure


def test_an_item_that_is_executed_again_computes_what_failed_before_and_no_other_item_does(tmp_path: Path) -> None:
    of = store(tmp_path)
    assert not fail_once_more(of, 1, "one").known
    # Another item, or an analysis, at its first attempt.
    assert fail_once_more(of, 1, "never raised").known
    assert fail_once_more(of, 2, "two").reason == "ValueError: two"
    # Another item's second attempt is not a third computation.
    assert fail_once_more(of, 2, "never raised").reason == "ValueError: two"
    with of.claim("run", "", attempt=3) as place:
        assert place is not None
        assert {file.name for file in place.iterdir()} == {"config.yaml", "probe_log.txt"}
        compute(place)
    run = tmp_path / "run"
    assert {file.name for file in run.iterdir()} == {
        "config.yaml", "probe_log.txt", "results.json", "error_1.txt", "error_2.txt",
    }  # fmt: skip
    assert ["ValueError: one" in (run / "error_1.txt").read_text(), "two" in (run / "error_2.txt").read_text()] == [
        True,
        True,
    ]
    with of.claim("run", "") as place:
        assert place is None


def test_a_later_session_computes_what_failed_and_keeps_the_error(tmp_path: Path) -> None:
    fail_once_more(store(tmp_path), 1, "yesterday's")
    later = store(tmp_path, "later")
    assert not fail_once_more(later, 1, "today's").known
    assert fail_once_more(later, 1, "never raised").known
    assert "yesterday's" in (tmp_path / "run" / "error_1.txt").read_text()


def test_a_run_follows_its_update_through_the_attempts(tmp_path: Path) -> None:
    of = store(tmp_path)

    def run(name: str, attempt: int, fails: str | None) -> FailedRun | None:
        try:
            with of.claim(name, "", attempt=attempt) as place:
                with of.claim("update", "", done="update.json", attempt=attempt) as update:
                    if update is not None:
                        if fails:
                            raise RunError(fails)
                        write_json(update / "update.json", {})
                assert place is not None
                compute(place)
        except FailedRun as failure:
            return failure
        return None

    assert [present(run(name, 1, "judge 1")).known for name in "ab"] == [False, True]
    assert present(run("a", 2, "judge 2")).reason == "judge 2"
    # The update was computed in a's second attempt: b's learns of it, and its third has nothing new.
    assert [present(run("b", attempt, "never asked")).reason for attempt in (2, 2)] == ["judge 2", "judge 2"]
    assert (tmp_path / "b" / "error.txt").read_text() == "session now\nsee update/error.txt, attempt 2\n"
    assert (tmp_path / "b" / "error_1.txt").read_text() == "session now\nsee update/error_1.txt\n"
    assert not (tmp_path / "b" / "error_2.txt").exists()
    assert run("a", 3, None) is None
    assert "judge 2" in (tmp_path / "update" / "error_2.txt").read_text()
    # An analysis at its first attempt: what made b fail has been computed since.
    assert run("b", 1, "never asked") is None
    assert (tmp_path / "b" / "error_2.txt").read_text() == "session now\nsee update/error_2.txt\n"


def rerun(directory: str, counter: str, barrier: Barrier) -> None:
    """Two attempts at a run that fails the first time that anyone computes it."""

    def work(place: Path) -> None:
        with open(counter, "a") as stream:
            stream.write("x")
        time.sleep(0.2)
        if Path(counter).stat().st_size == 1:
            raise OSError(116, "Stale file handle")
        compute(place)

    of, failures = store(Path(directory)), 0
    for attempt in (1, 2):
        barrier.wait()
        try:
            with of.claim("run", "", attempt=attempt) as place:
                if place is not None:
                    work(place)
            break
        except FailedRun:
            failures += 1
    raise SystemExit(failures)


def test_of_two_workers_that_rerun_one_computes_and_the_other_takes_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    counter, barrier = tmp_path / "count", context.Barrier(2)
    workers = [context.Process(target=rerun, args=(str(tmp_path / "e"), str(counter), barrier)) for _ in range(2)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(60)
    assert [process.exitcode for process in workers] == [1, 1]
    assert counter.read_text() == "xx"
    assert "Stale file handle" in (tmp_path / "e" / "run" / "error_1.txt").read_text()
    assert (tmp_path / "e" / "run" / "results.json").is_file()


class Large:
    """What a computation holds, such as a tensor on a GPU."""


def test_a_failure_holds_nothing_of_what_the_computation_held(tmp_path: Path) -> None:
    """Else the attempt after one that ran out of memory would have less of it."""
    held: list[weakref.ref[Large]] = []

    def inner() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise MemoryError("CUDA out of memory")

    def outer(place: Path) -> None:
        large = Large()
        held.append(weakref.ref(large))
        try:
            inner()
        except MemoryError as error:
            raise RunError("no run") from error

    with pytest.raises(FailedRun) as caught:
        obtain(store(tmp_path), "run", "", outer, read)
    assert [reference() for reference in held] == [None, None]
    assert isinstance(caught.value.__cause__, RunError)
    assert "in inner" in (tmp_path / "run" / "error.txt").read_text()


def test_an_analysis_names_the_runs_it_needs_and_where_their_failures_are(tmp_path: Path) -> None:
    text = "session now\nRunError: no luck\n"
    update, own = tmp_path / "update" / "error.txt", tmp_path / "BE004_run001" / "error.txt"
    one = NeededRunsFailed({(4, 1): FailedRun(text, own, known=True)})
    assert str(one) == "needs the run BE004-run001, which failed: see BE004_run001/error.txt"
    assert one.news is None
    assert "no luck" in str(one.__cause__), "--only-rerun looks for the reason there"
    many = NeededRunsFailed({(8, run): FailedRun(text, update, known=True) for run in range(1, 8)})
    assert str(many) == (
        "needs the runs BE008-run001, BE008-run002, BE008-run003, BE008-run004 and 3 more, which failed: "
        "see update/error.txt"
    )
    # Where no item of a run has said it, the analysis does.
    new = NeededRunsFailed({(4, 1): FailedRun(text, own)})
    assert str(new).startswith("needs the run BE004-run001, which failed: RunError: no luck\ntraceback: ")
    assert new.news == News("BE004_run001 failed", "RunError: no luck")


def test_a_killed_attempt_is_one_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / ".run.partial").mkdir(parents=True)
    (tmp_path / ".run.partial" / "probe_log.txt").write_text("x" * 100_000 + "\ndrawing responses\n")
    obtain(store(tmp_path), "run", "", compute, read)
    text = (tmp_path / "run" / "error_1.txt").read_text()
    assert text.splitlines()[-2:] == [
        "    drawing responses",
        "the process that computed it was killed; above is the end of its log",
    ]
    assert len(text) < 5000


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".run.partial").mkdir(parents=True)
    (tmp_path / ".run.partial" / "results.json").write_text("{half")
    result, _ = obtain(store(tmp_path), "run", "", compute, read)
    assert result["pid"] == os.getpid()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(place: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(store(tmp_path), "run", "", interrupted, read)
    assert not (tmp_path / "run").exists()


def test_json_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "x.json", {"a": object()})
    assert not (tmp_path / "x.json").exists()


def test_stamps_do_not_clash_and_links_are_refused(tmp_path: Path) -> None:
    from pytest_entropy.errors import UsageError

    assert claim_stamp(tmp_path, "t") == "t"
    assert claim_stamp(tmp_path, "t") == "t_2"
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a symbolic link"):
        claim_stamp(tmp_path / "link", "t")
    with pytest.raises(UsageError, match="is a symbolic link"):
        claim_stamp(tmp_path, "t")


def test_a_withdrawn_stamp_leaves_the_directory_to_other_sessions(tmp_path: Path) -> None:
    results = tmp_path / "results"
    mine, other = claim_stamp(results, "t"), claim_stamp(results, "t")
    withdraw_stamp(results, mine, existed=False)
    assert [file.name for file in (results / ".sessions").iterdir()] == [other]
    withdraw_stamp(results, other, existed=False)
    assert not results.exists()
    withdraw_stamp(results, claim_stamp(results, "t"), existed=True)
    assert list(results.iterdir()) == []


def test_resume_takes_the_newest_of_the_same_kind(tmp_path: Path) -> None:
    for name, stamp, digest in (("a", "1", "same"), ("b", "3", "same"), ("c", "4", "other"), ("d", "2", "same")):
        (tmp_path / name).mkdir()
        record = {"schema_version": 1, "experiment": "x", "stamp": stamp, "checkpoint_digest": digest}
        write_json(tmp_path / name / "experiment.json", {**record, "config_digest": "c"})
    assert find_resumable(tmp_path, "same", "c") == (tmp_path / "b", "")
    assert find_resumable(tmp_path, "none", "c") == (None, "")
