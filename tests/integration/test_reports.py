"""What a session says and leaves behind: the terminal's summary, the files at session end."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Workspace

HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'text'"


def entropy_section(output: str) -> list[str]:
    """The lines between the rule that says ``entropy`` and the next one."""
    lines = output.splitlines()
    start = next(n for n, line in enumerate(lines) if re.fullmatch(r"=+ entropy =+", line))
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("===")), len(lines))
    return lines[start + 1 : end]


@pytest.mark.slow
def test_the_table_fits_80_columns_and_has_a_row_per_batch_size(workspace: Workspace) -> None:
    done = workspace.run(*workspace.scaling)
    assert done.returncode == 0, done.stdout
    section = entropy_section(done.stdout)
    rows = [line for line in section if re.match(r" +(4|8) +2 ", line)]
    assert len(rows) == 2
    assert all("±" in row for row in rows)
    paths = [line for line in section if "results:" in line]
    assert len(paths) == 1
    assert max(len(line) for line in section if line not in paths) <= 80


@pytest.mark.slow
def test_quiet_says_verdict_and_path_only(workspace: Workspace) -> None:
    done = workspace.run(*workspace.scaling, "-q")
    assert done.returncode == 0, done.stdout
    section = [line for line in entropy_section(done.stdout) if " passed" not in line and " skipped" not in line]
    assert section
    # Wrapped lines are indented.
    assert all(line.startswith(("batch_scaling: ", "  ")) for line in section)
    assert max(map(len, section[:-1])) <= 80
    assert "entropy: " not in done.stdout.partition("= entropy =")[0]
    assert section[-1].startswith("batch_scaling: ")
    assert "results/batch_scaling" in section[-1]
    assert "B_E runs" not in done.stdout


CONSTANT_REWARD = "def constant(prompts, completions, **columns):\n    return [1.0] * len(completions)\n"


@pytest.mark.slow
def test_inconclusive_is_said_in_capitals_with_reason_and_remedy(workspace: Workspace) -> None:
    (workspace.path / "rewards.py").write_text(CONSTANT_REWARD)
    arguments = [a.replace("rewards.py:length", "rewards.py:constant") for a in workspace.single]
    done = workspace.run(*arguments)
    assert done.returncode == 0, done.stdout
    words = " ".join(line.strip() for line in entropy_section(done.stdout))
    assert "INCONCLUSIVE test_result: the update batch has a gradient" in words
    assert "give prompts of mixed difficulty" in words
    assert "INCONCLUSIVE test_first_order" in words
    assert "2 skipped" in done.stdout
    (report,) = workspace.results.rglob("report.html")
    assert "INCONCLUSIVE" in report.read_text()
    strict = workspace.run(*arguments, "--entropy-inconclusive=fail")
    assert strict.returncode == 1, strict.stdout
    assert "INCONCLUSIVE" in strict.stdout


@pytest.mark.slow
def test_too_small_a_sample_says_what_would_do(workspace: Workspace) -> None:
    done = workspace.run(*workspace.scaling)
    words = " ".join(line.strip() for line in entropy_section(done.stdout))
    for part in re.findall(r"INCONCLUSIVE.*?(?=INCONCLUSIVE|results:)", words):
        assert "to decide" in part or "more runs" in part, part
    assert "INCONCLUSIVE" in words, "two runs at B_E 4 and 8 cannot have decided"


@pytest.mark.slow
def test_reports_escape_what_came_from_outside(workspace: Workspace) -> None:
    prompts = "".join(json.dumps({"prompt": f"{HOSTILE} {i}", "answer": HOSTILE}) + "\n" for i in range(40))
    (workspace.path / "prompts.jsonl").write_text(prompts)
    (workspace.path / "rewards.py").write_text(
        "def length(prompts, completions, answer, **columns):\n    raise ValueError(answer[0])\n"
    )
    link = workspace.path / "step<b>bold"
    link.symlink_to(workspace.checkpoint)
    arguments = [a for a in workspace.single if not a.startswith("--checkpoint")]
    done = workspace.run(*arguments, f"--checkpoint={link}")
    assert done.returncode == 1
    (report,) = workspace.results.rglob("report.html")
    html = report.read_text()
    assert "onerror=alert" in html, "the error is shown"
    assert "<img src=x" not in html
    assert "<b>bold" not in html
    assert "step&lt;b&gt;bold" in html
    (summary,) = workspace.results.rglob("summary.md")
    assert "<img src=x" not in summary.read_text()


@pytest.mark.slow
def test_csv_has_one_row_per_run_and_ci_gets_the_summary(workspace: Workspace) -> None:
    steps = workspace.path / "steps.md"
    steps.write_text("before\n")
    environment = {**workspace.environment(), "GITHUB_STEP_SUMMARY": str(steps)}
    done = subprocess.run(
        workspace.command(*workspace.scaling, "-n2"),
        cwd=workspace.path, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (table,) = workspace.results.rglob("results.csv")
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["B_E"], row["run"]) for row in rows] == [("4", "1"), ("4", "2"), ("8", "1"), ("8", "2")]
    deltas = workspace.deltas()
    for row in rows:
        assert float(row["delta_h1"]) == deltas[f"batch_scaling/BE00{row['B_E']}_run00{row['run']}"]
    (summary,) = workspace.results.rglob("summary.md")
    assert steps.read_text().startswith("before\n# Entropy probes")
    assert steps.read_text().count("## batch_scaling") == 1
    assert "| 4 | 2 |" in summary.read_text()


@pytest.mark.slow
def test_what_cannot_be_written_costs_no_other_file_and_is_not_green(workspace: Workspace) -> None:
    """A job summary that is not there, and another plugin's analysis that raises."""
    (workspace.path / "conftest.py").write_text("def pytest_entropy_analysis(runs):\n    raise ValueError('no luck')\n")
    done = subprocess.run(
        workspace.command(*workspace.single, "-q", "--junitxml=junit.xml"),
        cwd=workspace.path, env={**workspace.environment(), "GITHUB_STEP_SUMMARY": "/nowhere/steps.md"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert "GITHUB_STEP_SUMMARY NOT written: FileNotFoundError" in done.stdout
    assert "other plugins' analyses NOT written: ValueError: no luck" in done.stdout
    assert (workspace.path / "junit.xml").is_file()
    for name in ("report.html", "summary.json", "results.csv", "session.json"):
        assert len(list(workspace.results.rglob(name))) == 1, name
    assert len(list(workspace.results.rglob("index.html"))) == 2


@pytest.mark.slow
def test_without_a_terminal_plugin_everything_is_written(workspace: Workspace) -> None:
    done = workspace.run(*workspace.single, "-p", "no:terminal")
    assert done.returncode == 0, done.stderr
    assert len(list(workspace.results.rglob("report.html"))) == 1


@pytest.mark.parametrize(
    "workers", [pytest.param([], id="alone"), pytest.param(["-n2"], id="two workers", marks=pytest.mark.slow)]
)
def test_a_project_that_does_not_use_the_plugin_sees_nothing_of_it(
    tmp_path: Path, workspace: Workspace, workers: list[str]
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_trivial.py").write_text("def test_trivial():\n    assert 1 + 1 == 2\n")
    (project / "pytest.ini").write_text("[pytest]\n")

    def session(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *workers, *options],
            cwd=project, env=workspace.environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        # The list of loaded plugins names every plugin there is; times differ, and with their digits the rules of the
        # last line.
        kept = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("plugins:")]
        return re.sub(r"=+|\d+\.\d+s", "", "\n".join(kept))

    assert session() == session("-p", "no:entropy")
    assert sorted(path.name for path in project.iterdir()) == ["pytest.ini", "test_trivial.py"]


@pytest.mark.slow
def test_other_plugins_analyses_are_kept_by_name(workspace: Workspace) -> None:
    (workspace.path / "conftest.py").write_text(
        "def pytest_entropy_analysis(experiment, runs):\n"
        "    return {'experiment': experiment, 'prompts': len(runs[0]['per_prompt'])}\n"
    )
    done = workspace.run(*workspace.single)
    assert done.returncode == 0, done.stdout
    (summary,) = (workspace.results / "single_run").rglob("summary.json")
    (answer,) = json.loads(summary.read_text())["plugin_analyses"].values()
    assert answer == {"experiment": "single_run", "prompts": 6}


@pytest.mark.slow
def test_a_session_has_an_index(workspace: Workspace) -> None:
    done = workspace.run(*workspace.single, "-n2")
    assert done.returncode == 0, done.stdout
    (index,) = (workspace.results / "sessions").glob("*/index.html")
    assert "single_run" in index.read_text()
    overview = workspace.results / "index.html"
    link = index.relative_to(workspace.results).as_posix()
    assert f'href="{link}"' in overview.read_text()
    (record,) = (workspace.results / "sessions").glob("*/session.json")
    (name,) = json.loads(record.read_text())["experiments"]
    assert (workspace.results / name / "report.html").is_file()


def on_a_terminal(workspace: Workspace, *arguments: str) -> str:
    """The output of a session whose standard output is a terminal."""
    ours, theirs = pty.openpty()
    session = subprocess.Popen(
        workspace.command(*arguments), cwd=workspace.path, env={**workspace.environment(), "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    parts = []
    # Reading fails once the session has closed its end.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 4096):
            parts.append(part)
    os.close(ours)
    output = b"".join(parts).decode()
    assert session.wait() == 0, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_terminal_sees_colour_and_the_time_left_and_a_file_does_not(workspace: Workspace, workers: str) -> None:
    (workspace.path / "conftest.py").write_text("from pytest_entropy.reports import progress\nprogress.EVERY = 0.0\n")
    seen = on_a_terminal(workspace, *workspace.scaling, workers)
    assert re.search(r"entropy: \d of 4 runs, about \d+ s left", seen)
    assert "\x1b[" in seen
    plain = workspace.run(*workspace.scaling, workers, "--resume")
    assert plain.returncode == 0
    assert "runs, about" not in plain.stdout
    assert "\x1b[" not in plain.stdout
    assert "runs, about" not in on_a_terminal(workspace, *workspace.scaling, workers, "-q")
