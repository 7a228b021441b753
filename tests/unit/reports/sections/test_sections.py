"""Sections of a report: their order, one of another package, and one that cannot be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.records.diagnostics import VarianceParts
from pytest_entropy.records.rollouts import ExtremeRollouts, PromptRollouts, Response
from pytest_entropy.records.update import Sample, StillTerm
from pytest_entropy.reports.html import render, sections
from pytest_entropy.reports.sections.attempts import SECTION as ATTEMPTS
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.checks import SECTION as CHECKS
from pytest_entropy.reports.sections.equal_rewards import SECTION as EQUAL_REWARDS
from pytest_entropy.reports.sections.estimators import SECTION as ESTIMATORS
from pytest_entropy.reports.sections.failed_runs import SECTION as FAILED_RUNS
from pytest_entropy.reports.sections.rollouts import SECTION as ROLLOUTS
from pytest_entropy.reports.sections.settings import SECTION as SETTINGS
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.settings.layers import PROVENANCE, Layer, resolve_config
from pytest_entropy.stats import check_mean_zero, check_within_noise
from tests.present import present
from tests.unit.reports.stored import store_experiment

BUILT_IN = [
    "comparison", "logged_prompts", "equal_rewards", "memory_scaling", "batch_sizes", "estimators", "failed_runs",
    "failed_tests", "missing_runs", "attempts", "figures", "checks", "rollouts", "runs", "cost", "settings",
    "update_batch",
    "plugin_analyses", "environment",
]  # fmt: skip
PART = """
from markupsafe import Markup
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.checks import SECTION as CHECKS
from pytest_entropy.reports.sections.estimators import SECTION as ESTIMATORS
from pytest_entropy.reports.sections.failed_runs import SECTION as FAILED_RUNS


class LongestRun(Section):
    title, order = "Longest <run>", 850

    def html(self, view):
        longest = max(view.runs, key=lambda run: sum(run.seconds.values()))
        return Markup("<p>{}: {} prompts</p>\\n").format(longest.directory, longest.B_E)


SECTION = LongestRun()
"""


@pytest.fixture
def view(tmp_path: Path) -> ExperimentView:
    return view_experiment(store_experiment(tmp_path))


@pytest.fixture
def another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is installed and names a section by an entry point."""
    site = tmp_path / "site"
    (site / "longest-1.0.dist-info").mkdir(parents=True)
    (site / "longest-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: longest\nVersion: 1.0\n")
    points = "[pytest_entropy.report_sections]\nlongest_run = longest_run_section\n"
    (site / "longest-1.0.dist-info" / "entry_points.txt").write_text(points)
    (site / "longest_run_section.py").write_text(PART)
    monkeypatch.syspath_prepend(site)
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def test_built_in_sections_stand_in_their_order() -> None:
    assert [name for name, _ in sections()] == BUILT_IN
    assert len({section.order for _, section in sections()}) == len(BUILT_IN)


def test_a_section_of_another_package_appears_in_its_place(view: ExperimentView, another_package: None) -> None:
    html = render(view)
    words = "<h2>Longest &lt;run&gt;</h2>\n<p>BE008_run001: 8 prompts</p>"
    assert html.index("<h2>Figures</h2>") < html.index(words) < html.index("<h2>Runs</h2>")


def test_prompts_of_another_form_than_the_trainers_are_shown_once(view: ExperimentView) -> None:
    note = "4 of 4 prompts in the trainer's log have another form here: the log has '<b>'"
    noted = replace(view, runs=[replace(run, notes=["no total variance", note]) for run in view.runs])
    html = render(noted)
    assert "<h2>Prompts of another form than the trainer" in html
    assert html.count("have another form here: the log has &#39;&lt;b&gt;&#39;</p>") == 1
    assert "of another form" not in render(view)


def test_what_a_section_has_nothing_for_is_left_out(view: ExperimentView) -> None:
    html = render(view)
    for heading in ("Against the baseline", "Failed runs", "Missing runs", "Checks", "Update batch"):
        assert f"{heading}" not in html
    for heading in ("δH₁ by batch size", "Figures", "Runs", "What was measured", "Environment"):
        assert f"<h2>{heading}</h2>" in html


def test_the_depth_is_shown_where_runs_have_diagnostics(view: ExperimentView) -> None:
    def shown(diagnostics: bool) -> Markup:
        values = {"diagnostics": diagnostics, "batch_config": {"runs_per_batch": 15}}
        resolved = resolve_config([Layer("test", values)]).at_depth("light", "auto: 1.5e+09 parameters")
        config = {**resolved.config.model_dump(mode="json"), PROVENANCE: resolved.sources}
        html = SETTINGS.html(replace(view, config=config))
        assert html is not None
        return Markup(html.partition("<details>")[0])

    assert "checks.depth" in shown(True)
    assert "light" in shown(True)
    assert "auto: 1.5e+09 parameters" in shown(True)
    assert "checks.depth" not in shown(False)


def test_settings_that_differ_from_the_kinds_defaults_stand_in_front(view: ExperimentView) -> None:
    def front(name: str, values: dict[str, Any]) -> str:
        resolved = resolve_config([Layer("test", values)])
        config = {**resolved.config.model_dump(mode="json"), PROVENANCE: resolved.sources}
        html = present(SETTINGS.html(replace(view, config=config, manifest=replace(view.manifest, experiment=name))))
        assert "sampling.temperature" in html.partition("<details>")[2]
        return str(html.partition("<details>")[0])

    own = {"batch_config": {"B_E_values": [256], "runs_per_batch": 15}, "diagnostics": True}
    assert "All settings have the defaults of sanity check." in front("sanity_check", own)
    shown = front("single_run", {**own, "sampling": {"max_new_tokens": 64}})
    for row in ("<code>sampling.max_new_tokens</code>", 'class="wrap">64<', 'class="wrap soft">256<', "runs_per_batch"):
        assert row in shown
    assert "B_E_values" not in shown


def test_a_check_is_a_row_of_prose_and_exact_ones_that_passed_are_folded(view: ExperimentView) -> None:
    exact = check_within_noise([0.0], noise_floor=1.0, name="draws", null="0", unit="nats", likely_causes="a row")
    noisy = check_mean_zero(
        [9.0, 9.5] * 20, alpha=1e-3, name="s", null="a mean is 0", unit="nats", likely_causes="a sign"
    )
    checks = {"s": noisy} | {f"exact_{n}": replace(exact, name=f"exact_{n}") for n in range(4)}
    front, _, folded = present(CHECKS.html(replace(view, checks=checks))).partition("<details>")
    assert "FAIL</span> A mean is 0.</p>" in front
    assert "It points to: a sign." in front
    assert "<code" in front
    assert "exact_1" not in front
    assert "4 exact checks passed" in folded
    few = present(CHECKS.html(replace(view, checks={"s": noisy, "exact_1": checks["exact_1"]})))
    assert "<details>" not in few


def test_runs_that_failed_for_one_reason_share_one_folded_traceback(view: ExperimentView) -> None:
    reason = "RunError: the reward raised KeyError"
    texts = [f"session x\nTraceback\n  of {n}\n{wrapper}{reason}\n" for n, wrapper in enumerate(("", "FailedRun: "))]
    failures = {"update": texts[0], "BE008_run001": texts[1], "BE008_run002": "session x\nTraceback\nOther: error\n"}
    html = present(FAILED_RUNS.html(replace(view, failures=failures)))
    assert html.count("<pre>") == 2
    assert "<summary>update: traceback (and 1 more with this reason)" in html
    assert "open" not in html


def test_estimators_stand_side_by_side(view: ExperimentView) -> None:
    estimators = {"action_value": {"mean": -0.0261, "se": 0.0014}, "reinforce_loo": {"mean": -0.0276, "se": None}}
    analysis = {"runs": [{"B_E": 8, "run": 1, "estimators": estimators}]}
    parts = VarianceParts(entropy_batch=1e-6, update_batch=3e-6, interaction=5e-7)
    runs = [replace(view.runs[0], variance_parts=parts), *view.runs[1:]]
    html = present(ESTIMATORS.html(replace(view, analysis=analysis, runs=runs)))
    for part in ("-0.0261 ± 0.0014", ">-0.0276<", ">3e-06<", ">3.5e-06<", "the update batch contributes most"):
        assert part in html
    assert ESTIMATORS.html(view) is None


class Broken(Section):
    title = "Broken"

    def html(self, view: ExperimentView) -> Markup:
        raise ValueError("no luck")


def test_a_section_that_cannot_be_made_is_named(view: ExperimentView) -> None:
    registry.add("report_sections", "my_own", Broken())
    try:
        with pytest.raises(UsageError, match="report section 'my_own': ValueError: no luck"):
            render(view)
    finally:
        registry.forget("report_sections", "my_own")


def test_a_reward_that_adds_nothing_is_shown_with_its_sample_escaped(view: ExperimentView) -> None:
    assert EQUAL_REWARDS.html(view) is None
    run = view.runs[0]
    sample = [Sample("3 + 4?", "<b>7</b>", "7", None), Sample("1 + 1?", "2", "2", 0.25)]
    update = replace(run.update, still_terms=[StillTerm("<i>form</i>", "all 16 are None", sample)])
    html = str(EQUAL_REWARDS.html(replace(view, runs=[replace(run, update=update)])))
    assert "reward &lt;i&gt;form&lt;/i&gt; adds nothing to the update: all 16 are None" in html
    assert "&lt;b&gt;7&lt;/b&gt;" in html
    assert "<td>none</td>" in html
    assert "<td>0.25</td>" in html


def test_a_rollout_shows_the_answer_that_rewards_compare_with(view: ExperimentView) -> None:
    prompts = [PromptRollouts("3 + 4?", -1.5, "lowest", [Response("8", 0.0)], "<answer>7</answer>")]
    rollouts = ExtremeRollouts(B_E=8, run=1, eta=2e-4, unit="nats per response", prompts=prompts)
    html = str(ROLLOUTS.html(replace(view, rollouts=rollouts)))
    assert "answer: &lt;answer&gt;7&lt;/answer&gt;</p>" in html
    assert "reward 0" in html


def test_earlier_attempts_have_their_reasons_and_link_to_their_errors(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    (directory / "BE008_run001" / "error_1.txt").write_text("session s\nConnectionError: <b>503</b>\n")
    view = view_experiment(directory)
    html = str(ATTEMPTS.html(view))
    assert "BE008_run001: 2 attempts" in html
    assert '<a href="BE008_run001/error_1.txt">error_1.txt</a>: ConnectionError: &lt;b&gt;503&lt;/b&gt;' in html
    assert "<h2>Attempts</h2>" in render(view)
    (directory / "BE008_run001" / "error_1.txt").unlink()
    assert ATTEMPTS.html(view_experiment(directory)) is None
