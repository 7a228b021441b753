"""The title of a report is its question, and the answer does not repeat the badge's word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.records.conclusion import Conclusion
from pytest_entropy.reports.html import render
from pytest_entropy.reports.questions import QUESTIONS, answer_in_words, question
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.settings.experiments import KNOWN
from tests.unit.reports.stored import store_experiment


@pytest.fixture
def view(tmp_path: Path) -> ExperimentView:
    return view_experiment(store_experiment(tmp_path))


def test_every_kind_has_a_question_and_ones_own_experiment_its_name(view: ExperimentView) -> None:
    assert set(QUESTIONS) == set(KNOWN)
    assert all(words.endswith("?") for words in QUESTIONS.values())
    assert question(view) == "Does δH₁ converge as B_E grows?"
    assert question(replace(view, manifest=replace(view.manifest, experiment="mine"))) == "mine"


def test_the_badge_says_the_verdict_once(view: ExperimentView) -> None:
    failed = replace(view, failed_items={"test_entropy": "too low"})
    assert failed.headline.startswith("FAILED: ")
    assert answer_in_words(failed) == "test_entropy: too low"
    html = render(failed)
    assert '<span class="word fail">FAIL</span> test_entropy: too low.</p>' in html
    assert "FAILED" not in html
    assert "<title>FAIL: batch_scaling</title>" in html


def test_another_answer_is_the_whole_headline(view: ExperimentView) -> None:
    said = replace(view, conclusion=Conclusion("converges", "δH₁ converges"))
    assert answer_in_words(said) == said.headline
    assert '<span class="word pass">PASS</span> δH₁ converges' in render(said)
