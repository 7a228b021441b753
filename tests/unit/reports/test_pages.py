"""The pages in a browser: readable at both widths and in both schemes, and nothing leaves the file.

Screenshots go to $ENTROPY_SCREENSHOTS, else to the test's own temporary directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.baselines.baseline_file import snapshot
from pytest_entropy.baselines.compare import compare
from pytest_entropy.baselines.compare_directories import comparison_of, to_page
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.files import write_json
from pytest_entropy.reports.index import write_index
from pytest_entropy.reports.results_index import write_results_index
from tests.present import present
from tests.unit.plugin.test_session_end import outcome
from tests.unit.reports.stored import store_experiment
from tools import browser
from tools.browser import Browser

FIT = {"a": -0.0275, "se_a": 0.0008, "b": 0.002, "se_b": 0.027}
SWEEP = {
    "points": [{"eta": h, "slope": -138 + 2e4 * h, "se": 6.0, "trusted": h < 4e-4} for h in (-2e-4, 1e-4, 2e-4, 4e-4)],
    "training_eta": 2e-4,
    "intercept": -138.0,
    "intercept_se": 5.0,
    "delta_h1_over_eta": -137.0,
    "reading": "first order holds at η = 0.0002",
}
FIGURES = [
    "Differences from the baseline", "δH₁ against B_E", "Standard error against B_E", "Entropy change against the step",
    "Contributions of the prompts", "Tail of the contributions", "p-values of the checks", "Time by phase",
    "Memory by phase",
]  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with everything in it, its index, and a page of an experiment whose runs all failed."""
    root = tmp_path_factory.mktemp("results")
    analysis = {"verdict": "converges", "reason": "δH₁ converges to a = -0.0275", "fit": FIT, "eta_sweep": SWEEP}
    checks = [outcome(0.0, f"check_number_{n}") for n in range(4)]
    whole = store_experiment(root, sizes=(8, 32, 128), runs=3, checks=checks, analysis=analysis)
    comparison = {
        "quantity": "delta_h1", "rule": "delta_h1:5%", "before": -0.02, "after": -0.03, "margin": 0.001,
        "word": "CHANGED", "outcome": {**outcome(9.0), "name": "compare_delta_h1"},
    }  # fmt: skip
    record = {"schema_version": 1, "baseline": "main", "pairing": "9 of 9 runs", "quantities": [comparison]}
    write_json(whole / "comparison.json", record)
    compared = root / "comparison.html"
    old, new = (snapshot(store_experiment(root / name, sizes=(64,), seed=1)) for name in ("old", "new"))
    new = replace(new, runs=[replace(run, per_prompt=[1.5 * s for s in run.per_prompt]) for run in new.runs])
    found = {"batch_scaling": comparison_of("main", old, new, compare(old, new, parse_rules([DEFAULT]), alpha=1e-3))}
    compared.write_text(to_page(found, "results/" + "a_long_name_" * 20, "results/<b>new"))
    failed = store_experiment(root, name="single_run", sizes=(64,), runs=1)
    (run,) = failed.glob("BE*")
    (run / "results.json").unlink()
    (run / "error.txt").write_text("session x\nTraceback\n" + "ValueError: " + "a_very_long_word_" * 30 + "<b>\n")
    views = [write_reports(whole), write_reports(failed)]
    index = write_index(root, "2026-01-01_00-00-00", views)
    overview = present(write_results_index(root))
    return {
        "report": whole / "report.html", "failed": failed / "report.html", "index": index, "comparison": compared,
        "overview": overview,
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    program = browser.executable()
    if program is None:
        pytest.skip(f"no browser here (looked for {', '.join(browser.NAMES)})")
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("name", ["report", "failed", "index", "comparison", "overview"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_a_page_fits_asks_for_nothing_and_says_what_it_shows(
    pages: dict[str, Path], page: Browser, tmp_path: Path, name: str, scheme: str, width: int
) -> None:
    page.open(pages[name], width=width, scheme=scheme)
    place = Path(os.environ.get("ENTROPY_SCREENSHOTS", tmp_path))
    place.mkdir(parents=True, exist_ok=True)
    page.screenshot(place / f"{name}-{scheme}-{width}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert page.complaints() == []
    assert [url for url in page.requests() if not url.startswith("data:")] == [pages[name].as_uri()]
    verdict = page.evaluate("document.querySelector('.verdict').innerText")
    assert len(verdict) > 20
    if name == "report":
        assert verdict.startswith("FAIL Against the baseline main: δH₁ -0.0200 → -0.0300 nats (")
    if name == "comparison":
        assert verdict.startswith("batch_scaling: CHANGED: δH₁ -0.0")
        assert "<b>new" in page.evaluate("document.body.innerText")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 31)"
    assert dark == (scheme == "dark")
    images = page.evaluate("[...document.images].map(i => [i.alt, i.complete && i.naturalWidth > 0])")
    assert all(alt and drawn for alt, drawn in images)
    if name == "report":
        assert [alt.split(":")[0] for alt, _ in images] == FIGURES
        assert page.evaluate("[...document.querySelectorAll('figcaption')].every(c => c.innerText.length > 20)")


def test_figures_leave_no_hole(pages: dict[str, Path], page: Browser) -> None:
    """The figures of each row end where their grid does."""
    rows = """[...document.querySelectorAll('.figures')].map(grid => {
      const end = grid.getBoundingClientRect().right, rows = {};
      for (const one of grid.children) { const box = one.getBoundingClientRect();
        rows[box.top] = Math.max(rows[box.top] || 0, box.right); }
      return Math.max(...Object.values(rows).map(right => end - right)); })"""
    for width in (375, 900, 1440):
        page.open(pages["report"], width=width, scheme="light")
        gaps = page.evaluate(rows)
        assert len(gaps) == 3
        # The first grid has one figure, which is not stretched.
        assert max(gaps[1:]) < 1, (width, gaps)


def test_the_page_of_a_failed_run_says_why_once_and_folds_the_traceback(pages: dict[str, Path], page: Browser) -> None:
    page.open(pages["failed"], width=375, scheme="light")
    assert page.evaluate("document.querySelector('.verdict').innerText").startswith("FAIL 1 of 1 runs gave no result: ")
    assert page.evaluate("[...document.querySelectorAll('details pre')].map(p => p.checkVisibility())") == [False]
    assert page.evaluate("document.body.innerText").count("ValueError: ") == 1


def test_text_can_be_read_in_both_schemes(pages: dict[str, Path], page: Browser) -> None:
    """Contrast of every text against the page at least 4.5 : 1 (WCAG AA)."""
    contrast = """(() => {
      const channels = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
      const light = c => { const [r, g, b] = channels(c).map(v => linear(v / 255));
        return .2126 * r + .7152 * g + .0722 * b; };
      const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!c.endsWith(', 0)')) return c; } return 'rgb(255, 255, 255)'; };
      return Math.min(...[...document.querySelectorAll('p, td, th, h1, h2, a, summary, figcaption, pre')]
        .filter(e => e.innerText.trim()).map(e => { const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
    })()"""
    for scheme in ("light", "dark"):
        for name in pages:
            page.open(pages[name], width=1440, scheme=scheme)
            assert page.evaluate(contrast) >= 4.5, (name, scheme)


def test_printed_on_white(pages: dict[str, Path], page: Browser) -> None:
    page.open(pages["report"], width=800, scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.images[0]).filter") == "none"


def test_links_lead_to_files(pages: dict[str, Path], page: Browser) -> None:
    for name in ("report", "index", "overview"):
        page.open(pages[name], width=1440, scheme="light")
        links = page.evaluate("[...document.links].map(l => decodeURIComponent(new URL(l.href).pathname))")
        assert len(links) >= 4
        assert [link for link in links if not Path(link).is_file()] == []
