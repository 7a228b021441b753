"""The summary section: tables from what is stored, words from what items reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_entropy.records.conclusion import Conclusion
from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.answer import answers
from pytest_entropy.reports.tables import size_table, to_markdown
from pytest_entropy.reports.terminal import header_lines, table_lines, write_terminal
from pytest_entropy.reports.undecided import MORE, undecided_in_words
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.stats import CheckOutcome
from tests.present import present
from tests.unit.reports.stored import store_experiment


class Lines:
    """What pytest's terminal reporter would show."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, frozenset[str]]] = []

    def section(self, title: str, sep: str) -> None:
        self.lines.append((f"{sep} {title}", frozenset()))

    def write_line(self, line: str, **colours: bool) -> None:
        self.lines.append((line, frozenset(name for name, on in colours.items() if on)))

    @property
    def text(self) -> list[str]:
        return [line for line, _ in self.lines]


@pytest.fixture
def view(tmp_path: Path) -> ExperimentView:
    return view_experiment(store_experiment(tmp_path))


def shown(view: ExperimentView, *reports: ItemReport, views: list[ExperimentView] | None = None, **more: Any) -> Lines:
    """The section for an experiment whose items reported this."""
    lines = Lines()
    first = ItemReport(experiment=view.name, directory=str(view.directory), nodeid="a::test_run", outcome="passed")
    write_terminal(
        lines, {view.name: [first, *reports]}, [view] if views is None else views, **{"quiet": False, **more}
    )
    return lines


def test_the_table_is_that_of_the_stored_runs_and_has_the_reports_numbers(view: ExperimentView) -> None:
    lines = shown(view).text
    assert lines[:2] == ["= entropy", "batch_scaling"]
    table = table_lines(size_table(view))
    assert lines[2 : 2 + len(table)] == table
    assert lines[2 + len(table)] == f"  results: {view.directory}"
    # Each quantity of the table is explained below it, and no other.
    words = " ".join(" ".join(lines[3 + len(table) :]).split())
    assert words.startswith("δH₁ is the change of the policy's entropy at the next optimizer step, to first order")
    assert "SE is the standard error over the prompts of E, for this U." in words
    assert "good below 0.1, ok below 0.2, else poor" in words
    assert "± over U" not in words
    assert "η*" not in words
    assert max(map(len, lines[:2] + lines[3 + len(table) :])) <= 80
    markdown = to_markdown([view])
    for row in size_table(view).sizes:
        assert f"| {row.B_E} | {row.runs} | {row.measure} | {row.noise} |" in markdown
        assert any(row.measure in line and row.noise in line for line in lines)


def test_without_a_view_or_without_runs_there_is_no_table(view: ExperimentView, tmp_path: Path) -> None:
    assert shown(view, views=[]).text == ["= entropy", "batch_scaling", f"  results: {view.directory}"]
    directory = store_experiment(tmp_path / "failed", sizes=(8,), runs=1)
    (directory / "BE008_run001" / "results.json").unlink()
    assert len(shown(view_experiment(directory)).text) == 3


def test_verdicts_failures_and_trouble_have_their_colours(view: ExperimentView) -> None:
    told = [
        ItemReport(nodeid="a::test_x", outcome="passed", verdict="measured", reason="entropy falls"),
        ItemReport(nodeid="a::test_y", outcome="skipped", inconclusive="y: inconclusive\n  expected: nothing"),
        ItemReport(nodeid="a::test_z", outcome="failed", verdict="inconclusive", reason="too few"),
    ]
    lines = shown(view, *told, notes=["a note"], trouble=["not written"])
    assert ("  measured: entropy falls", frozenset({"red"})) in lines.lines
    assert ("  INCONCLUSIVE test_z: too few", frozenset({"yellow"})) in lines.lines
    assert ("  failed: test_z", frozenset({"red"})) in lines.lines
    assert lines.lines[-2:] == [("a note", frozenset()), ("not written", frozenset({"red"}))]
    assert any(line.startswith(f"  INCONCLUSIVE test_y: nothing; {MORE[:20]}") for line in lines.text)
    quiet = shown(view, *told, notes=["a note"], trouble=["not written"], quiet=True).text
    assert quiet[1:] == [
        "batch_scaling: measured: entropy falls",
        "batch_scaling: INCONCLUSIVE test_y: nothing; to decide: more --runs, larger B_E,",
        "  or a larger --entropy-alpha",
        "batch_scaling: INCONCLUSIVE test_z: too few",
        "batch_scaling: failed: test_z",
        f"batch_scaling: {view.directory}",
        "not written",
    ]


def test_attempts_are_said_of_items_and_of_runs(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    for n in (1, 2):
        (directory / "BE008_run001" / f"error_{n}.txt").write_text(f"session s\nConnectionError: 503, call {n}\n")
    view = view_experiment(directory)
    again = ItemReport(experiment=view.name, nodeid="a::test_run[BE008-run001]", outcome="passed", attempts=3)
    for quiet in (False, True):
        text = " ".join(" ".join(shown(view, again, quiet=quiet).text).split()).replace(f"{view.name}: ", "")
        assert "executed again: test_run[BE008-run001] (3 attempts)" in text
        assert "computed again after a failure: BE008_run001 (3 attempts)" in text
    assert "- computed again after a failure: BE008_run001 (3 attempts)" in to_markdown([view])
    unfailed = " ".join(shown(view_experiment(store_experiment(tmp_path / "other"))).text)
    assert "attempts)" not in unfailed


def test_a_cause_is_said_only_where_something_has_to_be_changed() -> None:
    message = "x: inconclusive\n  expected: a\n  this sample can see effects from 1 nats\n  points to: b"
    assert undecided_in_words(message) == f"a; this sample can see effects from 1 nats; {MORE}"
    assert (
        undecided_in_words("x: inconclusive\n  expected: a\n  because: c\n  points to: b")
        == "a; because: c; points to: b"
    )


def test_an_error_over_update_batches_and_a_sweep_are_explained_where_they_are_shown(view: ExperimentView) -> None:
    known = [replace(run, variance_total=present(run.variance_conditional) + 9e-6) for run in view.runs]
    swept = Conclusion("measured", "entropy falls; first order holds at η = 0.0002, η* = 0.006")
    other = replace(view, runs=known, conclusion=swept)
    words = " ".join(" ".join(shown(other, views=[other]).text).split())
    assert "± over U is the standard error with U drawn anew as well; only more prompts in U" in words
    assert "at η* both are as large." in words
    assert "±" not in shown(other, views=[other], quiet=True).text[-1]


def test_the_answer_is_one_number_from_all_experiments_along_one_update(tmp_path: Path) -> None:
    views = [
        view_experiment(store_experiment(tmp_path, name=name, seed=n, sizes=(64,)))
        for n, name in enumerate(("batch_scaling", "sanity_check"))
    ]
    views = [
        replace(view, runs=[replace(run, update=replace(run.update, fingerprint=1.5)) for run in view.runs])
        for view in views
    ]
    lines, quiet = (
        shown(views[0], views=views, quiet=quiet).text for quiet in (False, True)
    )  # fmt: skip
    (found,) = answers(views)
    words = " ".join(" ".join(lines).split())
    assert f"the answer: {found.in_words()}" in words
    assert "the answer: entropy falls by" in " ".join(quiet)
    assert "(2 experiments, 4 runs along one update batch)" in words
    assert not answers(views[:1])


def test_the_sanity_checks_verdict_is_whether_to_trust_the_probe(tmp_path: Path) -> None:
    passed = outcome("draws", None) | {"verdict": "pass"}
    decided = outcome("se_calibration", 0.4) | {"verdict": "pass"}
    view = view_experiment(store_experiment(tmp_path, name="sanity_check", sizes=(8,), checks=[passed, decided]))
    told = ItemReport(nodeid="a::test_success_rate", outcome="passed", verdict="runs succeeded", reason="2 of 2 runs")
    lines = shown(view, told).text
    assert "  the probe can be trusted here: 2 checks passed" in lines
    assert "  runs succeeded: 2 of 2 runs" in lines
    assert view.headline.startswith("the probe can be trusted here: 2 checks passed")


def test_what_deciding_takes_is_said_as_an_option(tmp_path: Path) -> None:
    open_ = outcome("se_slope", 0.4) | {"verdict": "inconclusive", "n": 80, "samples_needed": 790}
    view = view_experiment(store_experiment(tmp_path, checks=[open_]))
    message = view.checks["se_slope"].message()
    told = ItemReport(nodeid="a::test_slope", outcome="skipped", inconclusive=message)
    assert "to decide: --runs 20 (n = 790)" in " ".join(" ".join(shown(view, told).text).split())
    assert "to decide: --runs 20 (n = 790)" in view.headline
    single = view_experiment(store_experiment(tmp_path, name="single_run", sizes=(80,), runs=1, checks=[open_]))
    assert single.remedy("se_slope") == "--be 790"
    assert single.remedy("another") == ""


def outcome(name: str, p_value: float | None) -> dict[str, Any]:
    """A check's outcome as it is stored."""
    return CheckOutcome(
        name, "it holds", None, p_value, 1e-4, 0.1, None, "nats", 8, "pass", None, None, None, "a cause"
    ).to_dict()  # type: ignore[return-value]


def test_the_header_says_once_what_all_plans_share_and_is_wrapped() -> None:
    sampling = SimpleNamespace(temperature=1.0)
    probe = SimpleNamespace(mode="two_batch", estimator="e", update_rule="sgd", loss_type="grpo")
    step = {
        name: {"value": 1.0, "source": "a place with a long name"}
        for name in ("learning_rate", "advantage", "scale_rewards", "temperature", "top_k", "top_p")
    }
    step |= {"optimizer_states": {"value": "in order", "source": ""}, "ignored_sampling": {"value": {}, "source": ""}}

    def plan(name: str, target: str | None = None, **more: Any) -> Any:
        batch = SimpleNamespace(B_E_values=[8, 16], runs_per_batch=2, updates=2, B_U=4, G=2, G_E=None, target_se=target)
        config = SimpleNamespace(
            checkpoint="runs/step_60", batch_config=batch, prompts=SimpleNamespace(source="p.jsonl"), probe=probe,
            sampling=sampling,
        )  # fmt: skip
        made: dict[str, Any] = {
            "kind": SimpleNamespace(name=name), "resolved": SimpleNamespace(config=config), "depth": "",
            "files": SimpleNamespace(layout="HF Trainer", base=None, renamed=""), "checkpoint_digest": "0123456789",
            "next_step": step,
            "resumed": False, "superseded": "", "nothing_kept": "", "notes": (),
        }  # fmt: skip
        return SimpleNamespace(**{**made, **more})

    lines = header_lines([plan("one"), plan("two", superseded="other versions")])
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert words.count("optimizer states: in order") == 1
    assert words.count("step: learning_rate 1 (a place with a long name)") == 1
    assert "entropy: one: checkpoint runs/step_60" in words
    assert "B_E 8,16 x 4 runs, B_U 4 x 2 update batches" in words
    of_target = " ".join(" ".join(header_lines([plan("one", target="10%")])).split())
    assert "B_E 8,16 x at most 4 runs, until the error is 10%, B_U 4" in of_target
    assert words.index("not resumed: other versions") < words.index("optimizer states")
