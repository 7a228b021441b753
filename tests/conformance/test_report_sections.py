"""Every report section of the registry; and what is said of one that is wrong."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import Markup

from pytest_entropy import registry
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.testing import check_report_section
from pytest_entropy.testing.stored_experiment import HOSTILE, whole_experiment
from tests.present import present

Html = Callable[[ExperimentView], Markup | None]


@pytest.mark.parametrize("name", registry.names("report_sections"))
def test_section(name: str) -> None:
    check_report_section(name)


@pytest.fixture
def added() -> Iterator[Callable[..., None]]:
    """A function that adds a section made of an ``html`` under the name ``wrong``."""

    def add(html: Callable[[ExperimentView], object], **attributes: object) -> None:
        kind = type("Wrong", (Section,), {"title": "Wrong", "html": lambda self, view: html(view), **attributes})
        registry.add("report_sections", "wrong", kind())

    yield add
    registry.forget("report_sections", "wrong")


def shown(template: str) -> Html:
    """A section that shows the first run's directory as it is."""
    return lambda view: Markup(template % (view.runs[0].directory,)) if view.runs else None


def escaped(template: str) -> Html:
    """A section that shows it escaped."""
    return lambda view: Markup(template).format(view.runs[0].directory) if view.runs else None


count = itertools.count()


def from_elsewhere(view: ExperimentView) -> Markup:
    with urllib.request.urlopen("https://elsewhere.invalid/logo", timeout=1) as answer:
        return Markup(answer.read())


def in_spite_of_all(view: ExperimentView) -> Markup:
    try:
        return from_elsewhere(view)
    except Exception:
        return Markup("<p>no logo</p>")


def sorted_in_place(view: ExperimentView) -> Markup:
    view.runs.sort(key=lambda run: -run.run)
    return Markup("<p>runs</p>")


def errors(view: ExperimentView) -> Markup:
    return Markup("<p>{}</p>").format(sum(run.se_conditional for run in view.runs))


WRONG: dict[str, tuple[Callable[[ExperimentView], object], str]] = {
    "not escaped": (shown("<p>%s</p>"), r"has a <script>: is what it shows escaped\? \(hostile text\)"),
    "half escaped": (
        lambda view: Markup("<p>{}</p>").format(view.name)
        + Markup("".join(f"<p>{check.null}</p>" for check in view.checks.values())),
        r"has a <script>: is what it shows escaped\? \(hostile text\)",
    ),
    "keys not escaped": (
        lambda view: Markup("".join(f"<p>{key}</p>" for key in view.plugin_analyses)),
        r"has a <script>: is what it shows escaped\? \(hostile text\)",
    ),
    "an attribute not quoted": (escaped("<p title={}>a run</p>"), r"has <p onerror=...>"),
    "a link that any text becomes": (escaped('<a href="{}">a run</a>'), r"leads out of .*<a href='javascript:"),
    "a script": (lambda view: Markup("<script>1</script>"), r"has a <script>.*\(before the first run\)"),
    "a handler": (lambda view: Markup("<p onclick='f()'>a</p>"), r"has <p onclick=...>"),
    "a picture from elsewhere": (
        lambda view: Markup('<img src="https://elsewhere.invalid/logo.png" alt="logo">'), "leads out of .*<img",
    ),
    "a picture without a scheme": (lambda view: Markup('<img src="//elsewhere.invalid/a" alt="a">'), "leads out"),
    "a style from elsewhere": (
        lambda view: Markup("<style>p { background: url( https://elsewhere.invalid/a) }</style>"), "leads out",
    ),
    "a page in an address": (lambda view: Markup('<a href="data:text/html,a">a</a>'), "leads out of the report: <a"),
    "a tag left open": (lambda view: Markup("<div><p>a</p>"), "leaves <div> open"),
    "tags crossed": (lambda view: Markup("<b><i>a</b></i>"), "closes <b>, which is not the one open"),
    "a tag closed twice": (lambda view: Markup("<p>a</p></p>"), "closes <p>, which is not the one open"),
    "no markup": (lambda view: "<p>a</p>", "gives str, expected Markup or None"),
    "no runs": (lambda view: Markup(f"<p>{view.runs[0].B_E}</p>"), r"raises IndexError.*\(before the first run\)"),
    "errors without text": (
        lambda view: Markup("<p>{}</p>").format("".join(text.splitlines()[0] for text in view.failures.values())),
        r"raises IndexError.*\(all runs failed\)",
    ),
    "null numbers": (errors, r"raises TypeError.*\(null numbers\)"),
    "another each time": (lambda view: Markup(f"<p>{next(count)}</p>"), "is another one the second time"),
    "a changed experiment": (sorted_in_place, "changes the experiment that it shows"),
    "the network": (from_elsewhere, "asks the network"),
    "the network, quietly": (in_spite_of_all, "asks the network"),
    "nothing ever": (lambda view: None, "appears in no experiment here: give one in which it does"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_said(added: Callable[..., None], fault: str) -> None:
    html, said = WRONG[fault]
    added(html)
    with pytest.raises(AssertionError, match=rf"^report section wrong.*{said}"):
        check_report_section("wrong")


def test_a_heading_is_held_as_well(added: Callable[..., None]) -> None:
    added(escaped("<p>{}</p>"), heading=lambda self, view: Markup(view.unit))
    with pytest.raises(AssertionError, match=r"has a <script>.*\(hostile text\)"):
        check_report_section("wrong")


@pytest.mark.parametrize(("attribute", "value"), [("order", "first"), ("tone", "red")])
def test_order_and_tone_are_what_the_page_takes(added: Callable[..., None], attribute: str, value: str) -> None:
    added(escaped("<p>{}</p>"), **{attribute: value})
    with pytest.raises(AssertionError, match=f"{value!r}"):
        check_report_section("wrong")


def test_without_a_fault_it_is_right(added: Callable[..., None]) -> None:
    added(escaped('<p title="{0}">{0}<br></p>'))
    check_report_section("wrong")


def test_an_experiment_may_be_given(added: Callable[..., None], tmp_path: Path) -> None:
    given = replace(whole_experiment(tmp_path), analysis={"ours": {"name": "a name", "slope": 1.0}})
    added(lambda view: Markup("<p>{}</p>").format(view.analysis["ours"]["name"]) if "ours" in view.analysis else None)
    with pytest.raises(AssertionError, match="appears in no experiment here"):
        check_report_section("wrong")
    check_report_section("wrong", given)
    registry.forget("report_sections", "wrong")
    added(lambda view: Markup(f"<p>{view.analysis['ours']['name']}</p>") if "ours" in view.analysis else None)
    with pytest.raises(AssertionError, match=r"has a <script>.*\(hostile text of the experiment given\)"):
        check_report_section("wrong", given)


def test_every_text_is_hostile_and_every_number_null_where_it_may_be(tmp_path: Path) -> None:
    from pytest_entropy.testing import stored_experiment as experiments

    whole = whole_experiment(tmp_path)
    hostile, null = experiments.with_hostile_text(whole), experiments.with_null_numbers(whole)
    assert hostile.runs[0].notes == [HOSTILE]
    assert present(hostile.update).sample[0].prompt == HOSTILE
    assert present(hostile.comparison).quantities[0].outcome.null == HOSTILE
    of_a_plugin = {"entropy": 1.5, "words": [HOSTILE, {"its": HOSTILE, HOSTILE: HOSTILE}], HOSTILE: 1.5}
    assert hostile.plugin_analyses == {"another_plugin": of_a_plugin, HOSTILE: of_a_plugin}
    # What is one of a few words stays: another one could not have been stored.
    assert {check.verdict for check in hostile.checks.values()} == {"pass", "fail", "inconclusive"}
    assert hostile.name == whole.name
    assert (null.runs[0].se_conditional, null.runs[0].variance_total, present(null.update).reward_mean) == (
        None,
        None,
        None,
    )
    assert null.runs[0].delta_h1 == whole.runs[0].delta_h1
    assert present(null.comparison).quantities[0].outcome.effect is None
    assert null.analysis["fit"] == dict.fromkeys(("a", "se_a", "b", "se_b"))
    another = null.plugin_analyses["another_plugin"]
    assert isinstance(another, dict)
    assert another["entropy"] is None
