"""Sections of a report: their order, one of another package, and one that cannot be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import Markup

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.reports.html import render, sections
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.settings import SECTION as SETTINGS
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.settings.layers import PROVENANCE, Layer, resolve_config
from tests.unit.reports.stored import store_experiment

BUILT_IN = [
    "comparison", "equal_rewards", "batch_sizes", "failed_runs", "failed_tests", "missing_runs", "figures", "checks",
    "runs", "settings", "update_batch", "plugin_analyses", "whole_configuration", "environment",
]  # fmt: skip
PART = """
from markupsafe import Markup
from pytest_entropy.reports.sections.base import Section


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
        return html

    assert "checks.depth" in shown(True)
    assert "light" in shown(True)
    assert "auto: 1.5e+09 parameters" in shown(True)
    assert "checks.depth" not in shown(False)


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
