"""The tool takes a picture of each experiment's newest report, and of a failed one's, at both widths and schemes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.plugin.session_end import write_reports
from tests.unit.reports.stored import store_experiment
from tools import browser, screenshots


def test_the_newest_report_of_each_experiment_is_taken(tmp_path: Path) -> None:
    old, new = (store_experiment(tmp_path, stamp=f"2026-01-0{day}_00-00-00") for day in (1, 2))
    single = store_experiment(tmp_path, name="single_run", sizes=(8,), runs=1)
    for directory in (old, new):
        write_reports(directory)
    assert screenshots.newest_reports(tmp_path) == {"batch_scaling": new / "report.html"}
    write_reports(single)
    assert set(screenshots.newest_reports(tmp_path)) == {"batch_scaling", "single_run"}


def test_a_failed_copy_leaves_the_experiment_as_it_is(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path / "results")
    page = screenshots.failed_report(directory, tmp_path / "copy").read_text()
    assert "4 of 4 runs gave no result: the reward my_rewards:reward raised KeyError" in page.replace("&#39;", "'")
    assert len(list(directory.glob("*/results.json"))) == 4


def test_without_a_browser_or_a_report_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(screenshots, "executable", lambda: "chromium")
    assert screenshots.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "no report below" in capsys.readouterr().err
    monkeypatch.setattr(screenshots, "executable", lambda: None)
    assert screenshots.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "no browser here" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_of_both_widths_and_schemes_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if browser.executable() is None:
        pytest.skip(f"no browser here (looked for {', '.join(browser.NAMES)})")
    write_reports(store_experiment(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)  # make passes relative paths, of which a browser makes no address
    assert screenshots.main(["results", "out"]) == 0
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {
        f"{page}-{scheme}-{width}.png"
        for page in ("batch_scaling", "failed_run")
        for scheme in ("light", "dark")
        for width in (375, 1440)
    }
    assert all(file.stat().st_size > 10_000 for file in (tmp_path / "out").iterdir())
