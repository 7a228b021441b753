"""What is done with results after the session: list, report, prune, migrate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_entropy.commands.command_line import main
from pytest_entropy.runs.session_lock import lock_session
from tests.conftest import ROOT
from tests.unit.reports.stored import store_experiment


def stamps(root: Path, name: str = "batch_scaling") -> list[str]:
    return sorted(path.name.rpartition("convergence_")[2] for path in (root / name).iterdir())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Five experiments of one kind, two of another."""
    root = tmp_path / "results"
    for number in range(5):
        store_experiment(root, stamp=f"t{number}", sizes=(4,), runs=1)
    for number in range(2):
        store_experiment(root, stamp=f"s{number}", name="sanity_check", sizes=(4,), runs=2)
    return root


def test_list_says_a_line_each(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(results)])
    capsys.readouterr()
    assert main(["list", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all("1/1 runs  1 run; no checks" in line for line in lines if "batch_scaling" in line)
    assert main(["list", str(results / "sanity_check")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["list", str(results / "nowhere")]) == 2
    assert "no experiments here" in capsys.readouterr().err


def test_list_knows_a_session_that_did_not_end(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(results)]) == 0
    assert "no summary: the session did not end" in capsys.readouterr().out


@pytest.mark.slow
def test_report_makes_what_is_missing_or_out_of_date(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results)]) == 0
    made = {path: path.read_bytes() for path in results.rglob("*.html")}
    assert len(made) == 7 + 7 + 1, "a report per experiment, an index per session, and one over all of them"
    capsys.readouterr()
    main(["report", str(results)])
    assert "up to date" in capsys.readouterr().out
    run = next(results.rglob("*_t3/BE004_run001/results.json"))
    os.utime(run, ns=(time.time_ns(), time.time_ns()))
    main(["report", str(results)])
    assert capsys.readouterr().out.count("report.html") == 1
    main(["report", "--all", str(results)])
    assert {path: path.read_bytes() for path in results.rglob("*.html")} == made


@pytest.mark.slow
def test_report_after_the_controller_was_killed_at_session_end(results: Path) -> None:
    main(["report", str(results)])
    whole = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    for path in results.rglob("*_t2/*"):
        if path.name in ("report.html", "summary.md"):
            path.unlink()
    (results / "batch_scaling" / "δH₁_convergence_t2" / ".report.html.77.partial").write_text("<ht")
    main(["report", str(results)])
    again = {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and "partial" not in path.name}
    assert again == whole


def test_prune_is_a_dry_run_first_and_keeps_the_newest(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(results), "--keep", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("would remove") == 3
    assert "dry run: 3 to remove" in out
    assert stamps(results) == ["t0", "t1", "t2", "t3", "t4"]
    main(["report", str(results)])
    assert main(["prune", str(results), "--keep", "2", "--yes"]) == 0
    assert stamps(results) == ["t3", "t4"]
    assert len(list((results / "sanity_check").iterdir())) == 2
    assert sorted(path.name for path in (results / "sessions").iterdir()) == ["s0", "s1", "t3", "t4"]
    assert main(["prune", str(results), "--keep", "0", "--yes"]) == 2
    assert stamps(results) == ["t3", "t4"]


def test_prune_spares_what_is_in_use(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = {stamp: results / "batch_scaling" / f"δH₁_convergence_{stamp}" for stamp in ("t0", "t1", "t2")}
    (results / ".sessions").mkdir()
    began = lock_session(results, "t0", [])
    resumed = lock_session(results, "t9", [directory["t1"]])
    (directory["t2"] / ".locks").mkdir()
    with FileLock(directory["t2"] / ".locks" / "BE004_run001.lock"):
        assert main(["prune", str(results), "--keep", "1", "--yes"]) == 0
    assert capsys.readouterr().out.count("in use by a session") == 3
    assert stamps(results) == ["t0", "t1", "t2", "t4"]
    began.release()
    resumed.release()
    main(["prune", str(results), "--keep", "1", "--yes"])
    assert stamps(results) == ["t4"]


@pytest.mark.slow
def test_what_is_not_ours_is_neither_read_nor_removed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other tools have an experiment.json, too."""
    main(["report", str(results)])
    foreign = [
        results / "batch_scaling" / "foreign" / "experiment.json",
        results / "mine" / "run" / "experiment.json",
        results / "sessions" / "2020" / "session.json",
        results / "sessions" / "2020" / "notes.txt",
    ]
    for file in foreign:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"experiment": "batch_scaling", "stamp": 0}')
    capsys.readouterr()
    for command in (["list"], ["where"], ["report", "--all"], ["prune", "--keep", "1", "--yes"]):
        assert main([command[0], str(results), *command[1:]]) == 0, command
    assert "foreign" not in capsys.readouterr().out
    assert all(file.is_file() for file in foreign)


def test_prune_takes_several_results_directories_and_nothing_else(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = store_experiment(results.parent / "other", sizes=(4,), runs=1).parents[1]
    assert main(["prune", str(results), str(other), "--keep", "4"]) == 0
    assert "dry run: 1 to remove" in capsys.readouterr().out
    for wrong, message in ((results / "nowhere", "not a directory"), (results / "batch_scaling", "give the whole")):
        assert main(["prune", str(wrong), "--yes"]) == 2
        assert message in capsys.readouterr().err
    assert stamps(results) == ["t0", "t1", "t2", "t3", "t4"]


def test_one_experiment_that_cannot_be_read_does_not_keep_others_from_being_reported(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = results / "batch_scaling" / "δH₁_convergence_t1" / "experiment.json"
    newer.write_text(newer.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    (results / "batch_scaling" / "δH₁_convergence_t2" / "check_x.json").write_text("{")
    broken = results / "batch_scaling" / "δH₁_convergence_t3" / "BE004_run001" / "results.json"
    broken.write_text(broken.read_text()[:100])
    assert main(["report", str(results)]) == 2
    out, err = capsys.readouterr()
    assert out.count("report.html") == 5
    assert "has schema version 2" in err
    assert "check_x.json is not JSON" in err
    report = (broken.parents[1] / "report.html").read_text()
    assert "FAIL</span> 1 of 1 runs gave no result: BE004_run001/results.json cannot be read" in report
    assert "results.json cannot be read" in report


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("check_x.json", "[]"),
        ("check_x.json", '{"a": 1}'),
        ("convergence_analysis.json", "null"),
        ("conclusion.json", "[" * 100_000),
        ("comparison.json", '{"a": 1}'),
        ("update/update.json", "3"),
        ("BE004_run001/config.yaml", "[]"),
    ],
)
def test_a_file_of_another_shape_is_named_and_stops_nothing_else(
    results: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    broken, whole = (results / "batch_scaling" / f"δH₁_convergence_t{n}" for n in (2, 3))
    (broken / name).parent.mkdir(exist_ok=True)
    (broken / name).write_text(content)
    assert main(["report", str(broken), str(whole)]) == 2
    out, err = capsys.readouterr()
    assert str(whole / "report.html") in out
    assert str(broken / name) in err
    assert main(["compare", str(broken), str(whole)]) == 2


@pytest.mark.parametrize(("name", "content"), [("experiment.json", "[" * 100_000), ("summary.json", "[]")])
def test_what_cannot_be_read_does_not_keep_a_list_from_being_made(
    results: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    (results / "batch_scaling" / "δH₁_convergence_t2" / name).write_text(content)
    assert main(["list", str(results)]) == 0
    assert "δH₁_convergence_t3  1/1 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value"), [("delta_h1", float("nan")), ("eta", 10**400), ("B_E", "4"), ("seconds", [])]
)
def test_a_result_without_its_numbers_is_a_failed_run(results: Path, key: str, value: object) -> None:
    broken = results / "batch_scaling" / "δH₁_convergence_t2" / "BE004_run001" / "results.json"
    broken.write_text(json.dumps({**json.loads(broken.read_text()), key: value}))
    assert main(["report", str(broken.parents[1])]) == 0
    assert "results.json cannot be read" in (broken.parents[1] / "report.html").read_text()


def test_an_error_text_that_is_not_utf_8_is_shown_as_far_as_it_is(results: Path) -> None:
    place = results / "batch_scaling" / "δH₁_convergence_t2" / "BE004_run001"
    (place / "results.json").unlink()
    (place / "error.txt").write_bytes(b"session t2\nOSError: caf\xe9\n")
    assert main(["report", str(place.parent)]) == 0
    assert "OSError: caf\ufffd" in (place.parent / "report.html").read_text()


def test_a_comparison_that_cannot_be_made_is_not_a_difference(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 says that they differ."""
    for alpha in ("5", "0", "nan"):
        with pytest.raises(SystemExit, match="2"):
            main(["compare", str(results), str(results), "--alpha", alpha])
    assert main(["compare", str(results), str(results), "--html", str(tmp_path / "absent" / "x.html")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_prune_leaves_links_alone(results: Path) -> None:
    elsewhere = results.parent / "elsewhere"
    (results / "batch_scaling" / "δH₁_convergence_t0").rename(elsewhere)
    (results / "batch_scaling" / "δH₁_convergence_t0").symlink_to(elsewhere)
    main(["prune", str(results), "--keep", "1", "--yes"])
    assert stamps(results) == ["t0", "t4"]
    assert (elsewhere / "BE004_run001" / "results.json").is_file()


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    for name, files in {
        "test_fixed_logging": ["BE016_run001/results.json", "BE032_run001/results.json"],
        "BE016_run001": ["results.json", "probe_log.txt"],
        "sanity": ["run001/results.json", "run002/results.json"],
        "debug_batch": ["log.txt"],
        "notes": ["todo.txt"],
    }.items():
        for file in files:
            path = root / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
            os.utime(path, (1756332615, 1756332615))  # 2025-08-27 UTC
    store_experiment(root, stamp="new", sizes=(4,), runs=1)
    return root


def test_migrate_moves_the_old_directories_into_the_categories(
    legacy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", str(legacy), "--dry-run"]) == 0
    assert capsys.readouterr().out.count("would move") == 4
    assert (legacy / "BE016_run001").is_dir()
    assert main(["migrate", str(legacy)]) == 0
    for place in (
        "batch_scaling/legacy_test_2025-08-27/BE032_run001",
        "single_run/legacy_BE016_2025-08-27",
        "sanity_check/legacy_sanity_2025-08-27/run001",
        "debug/legacy_debug_2025-08-27",
    ):
        assert (legacy / place).is_dir(), place
    assert (legacy / "notes" / "todo.txt").is_file()
    assert "left" in capsys.readouterr().out
    assert main(["migrate", str(legacy)]) == 0
    assert "nothing to move" in capsys.readouterr().out


def test_migrated_directories_are_listed_and_reported_as_legacy(
    legacy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["migrate", str(legacy)])
    capsys.readouterr()
    scaling = legacy / "batch_scaling" / "legacy_test_2025-08-27"
    assert main(["list", str(legacy)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert "1/1 runs" in first
    assert lines == [
        f"{legacy / place}  legacy  {place.partition('/')[0]} of 2025-08-27, by run_entropy_test.py"
        for place in (
            "batch_scaling/legacy_test_2025-08-27",
            "debug/legacy_debug_2025-08-27",
            "sanity_check/legacy_sanity_2025-08-27",
            "single_run/legacy_BE016_2025-08-27",
        )
    ]
    assert main(["report", str(legacy)]) == 0
    out = capsys.readouterr().out
    assert out.count(": legacy, results of run_entropy_test.py stay as they are and get no report\n") == 4
    assert out.count("report.html") == 1
    for place in (scaling, legacy / "debug"):
        for command in ("list", "report"):
            assert main([command, str(place)]) == 0
            (line,) = capsys.readouterr().out.splitlines()
            assert line.startswith(str(place))
            assert " legacy" in line
    assert main(["compare", str(scaling), str(legacy)]) == 2
    assert f"{scaling} is legacy: " in capsys.readouterr().err
    assert main(["prune", str(legacy), "--keep", "1", "--yes"]) == 0
    assert (scaling / "BE032_run001" / "results.json").is_file()


def test_migrate_overwrites_nothing(legacy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = legacy / "single_run" / "legacy_BE016_2025-08-27"
    taken.mkdir(parents=True)
    assert main(["migrate", str(legacy)]) == 2
    assert "exists already, nothing was moved" in capsys.readouterr().err
    assert (legacy / "test_fixed_logging").is_dir()


def test_migrate_stops_before_a_link_or_a_file_in_the_way(legacy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (legacy / "single_run").mkdir()
    link = legacy / "single_run" / "legacy_BE016_2025-08-27"
    link.symlink_to(legacy / "nowhere")
    assert main(["migrate", str(legacy)]) == 2
    assert "exists already, nothing was moved" in capsys.readouterr().err
    link.unlink()
    (legacy / "debug").write_text("")
    assert main(["migrate", str(legacy)]) == 2
    assert "debug is not a directory, nothing was moved" in capsys.readouterr().err
    assert (legacy / "BE016_run001" / "results.json").is_file()


def test_migrate_takes_several_results_directories(legacy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = legacy.parent / "second"
    (second / "BE032_run001").mkdir(parents=True)
    assert main(["migrate", str(legacy), str(second)]) == 0
    assert capsys.readouterr().out.count("moved ") == 5
    assert len(list((second / "single_run").iterdir())) == 1


def test_migrate_keeps_whole_names_where_two_would_take_one(legacy: Path) -> None:
    (legacy / "BE016_run002").mkdir()
    (legacy / "BE016_run002" / "results.json").write_text("{}")
    os.utime(legacy / "BE016_run002" / "results.json", (1756332615, 1756332615))
    assert main(["migrate", str(legacy)]) == 0
    names = sorted(path.name for path in (legacy / "single_run").iterdir())
    assert names == ["legacy_BE016_run001_2025-08-27", "legacy_BE016_run002_2025-08-27"]


@pytest.mark.slow
def test_memory_stays_flat_over_many_stored_runs(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, sizes=(256,), runs=300)
    tracemalloc.start()
    assert main(["list", str(tmp_path)]) == 0
    from pytest_entropy.reports.view import view_experiment

    view = view_experiment(directory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(view.runs) == 300
    # 10 000 runs in 500 MB are 50 kB a run.
    assert peak / 300 < 20_000


MEASURED = """
import sys, time
from pytest_entropy.commands.command_line import main
code = main(sys.argv[1:])
# ru_maxrss would start from the peak of the process this one was forked from.
peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]
print(code, time.process_time(), int(peak[0]) / 1024, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_ten_thousand_stored_runs_in_a_few_seconds_and_500_mb(tmp_path: Path) -> None:
    """CPU seconds, for a busy machine's clock says little; in an own process, for its peak memory.

    A report takes twice as long as a list: its audit reads every run's file a second time.
    """
    first = store_experiment(tmp_path, sizes=(16, 32), runs=1)
    manifest = json.loads((first / "experiment.json").read_text())
    for B_E in (16, 32):
        record = json.loads((first / f"BE{B_E:03d}_run001" / "results.json").read_text())
        for run in range(2, 5001):
            place = first / f"BE{B_E:03d}_run{run:03d}"
            place.mkdir()
            (place / "results.json").write_text(json.dumps({**record, "run": run}))
            manifest["planned_runs"].append(place.name)
    (first / "experiment.json").write_text(json.dumps(manifest))
    for command, most in (("list", 10), ("report", 20), ("list", 10)):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, command, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        code, seconds, megabytes = map(float, done.stderr.split()[-3:])
        print(f"{command}: {seconds:.1f} s, {megabytes:.0f} MB")
        assert (code, seconds < most, megabytes < 500) == (0, True, True), (command, seconds, megabytes)
