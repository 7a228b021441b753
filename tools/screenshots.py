"""Screenshots of stored reports at a phone's and a desktop's width, in the light and in the dark scheme, to look at.

``python -m tools.screenshots RESULTS OUT`` takes the newest report of each experiment below RESULTS, makes the page
that a failed run would have, and writes ``OUT/<page>-<scheme>-<width>.png``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.paths import CHECKS, CONCLUSION, ERROR, REPORT, RESULTS
from pytest_entropy.records.results_directory import all_experiments
from pytest_entropy.reports.view import view_experiment
from tools.browser import NAMES, Browser, executable

WIDTHS = (375, 1440)
SCHEMES = ("light", "dark")
FAILED = "failed_run"
TRACEBACK = """session 2026-01-01_00-00-00
Traceback (most recent call last):
  File "pytest_entropy/runs/compute.py", line 164, in compute
    record = probe.run(spec.B_E, spec.seed, run=spec.run, update=update)
  File "my_rewards.py", line 12, in reward
    return [float(len(text)) / columns["weight"] for text in completions]
KeyError: 'weight'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "pytest_entropy/runs/store.py", line 92, in _partial
    yield partial
pytest_entropy.errors.RunError: the reward my_rewards:reward raised KeyError: 'weight'
"""


def newest_reports(results: Path) -> dict[str, Path]:
    """The newest report of each kind of experiment, by the experiment's name."""
    return {
        manifest.experiment: directory / REPORT
        for directory, manifest in sorted(all_experiments(results), key=lambda found: found[1].stamp)
        if (directory / REPORT).is_file()
    }


def failed_report(directory: Path, place: Path) -> Path:
    """The report that an experiment would have had, had all its runs failed; a copy of the experiment.

    Args:
        directory: the experiment's.
        place: an empty directory for the copy.
    """
    copy = place / directory.parent.name / directory.name
    shutil.copytree(directory, copy)
    for run in view_experiment(directory).runs:
        (copy / run.directory / RESULTS).unlink()
        (copy / run.directory / ERROR).write_text(TRACEBACK, encoding="utf-8")
    for file in (*copy.glob(CHECKS), copy / CONCLUSION):
        file.unlink(missing_ok=True)
    write_reports(copy)
    return copy / REPORT


def photograph(pages: Mapping[str, Path], out: Path, program: str) -> Iterator[Path]:
    """Write and yield the screenshot of each page at each width in each scheme.

    Args:
        pages: HTML files by the name that their pictures get.
        out: directory of the pictures.
        program: the browser.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, Browser(program, Path(profile)) as browser:
        for name, page in pages.items():
            for scheme in SCHEMES:
                for width in WIDTHS:
                    browser.open(page, width=width, scheme=scheme)
                    file = out / f"{name}-{scheme}-{width}.png"
                    browser.screenshot(file)
                    yield file


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures; 1 where there is no browser or no report."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("results", type=Path, help="a results directory with reports")
    parser.add_argument("out", type=Path, help="directory of the pictures")
    given = parser.parse_args(arguments)
    program = executable()
    if program is None:
        print(f"no browser here (looked for {', '.join(NAMES)}): no screenshots", file=sys.stderr)
        return 1
    pages = newest_reports(given.results)
    if not pages:
        print(f"no report below {given.results}: run pytest experiments/ first", file=sys.stderr)
        return 1
    with TemporaryDirectory() as place:
        pages[FAILED] = failed_report(pages.get("single_run", next(iter(pages.values()))).parent, Path(place))
        for file in photograph(pages, given.out, program):
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
