"""The regression gate's reason: every sentence of it, and the same text in summary, item, report and page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.baselines.compare_directories import in_words, to_page
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.comparison import Comparison, QuantityRow, SideErrors
from pytest_entropy.records.failed_items import note_item
from pytest_entropy.records.files import write_json
from pytest_entropy.reports.gate_reason import MORE, both_errors, gate_reason, likely_causes, sentence
from pytest_entropy.stats.outcome import CheckOutcome, Verdict
from tests.unit.plugin.test_session_end import outcome
from tests.unit.reports.stored import store_experiment

LOOK = "the update direction or the estimator: a factor, a sign"
CHANGED = "δH₁ 0.0093 → 0.0139 nats/response (+50 %, CI +36 % … +65 %; allowed ± 5 %)"


def row(
    before: float | None = 0.0093,
    after: float | None = 0.01392,
    ci: tuple[float, float] | None = (0.00335, 0.00605),
    *,
    quantity: str = "delta_h1",
    rule: str = "delta_h1:5%",
    verdict: Verdict = "fail",
    effect: float | None = 0.00462,
    margin: float | None = 0.000465,
    unit: str = "nats per response",
    n: int = 96,
    needed: int | None = None,
    causes: str = LOOK,
) -> QuantityRow:
    """A row of ``comparison.json``; by default δH₁ has risen by half."""
    judged = CheckOutcome(
        f"compare_{quantity}", "is what it was", None, 1e-6, 1e-3, effect, ci, unit, n, verdict, None, margin, needed,
        causes,
    )  # fmt: skip
    return QuantityRow(
        quantity=quantity, rule=rule, before=before, after=after, margin=margin, outcome=judged,
        scope="for this update batch", word="CHANGED" if verdict == "fail" else "unchanged",
    )  # fmt: skip


def of(*rows: QuantityRow, differences: list[str] | None = None, packages: list[str] | None = None) -> Comparison:
    return Comparison(baseline="main", quantities=list(rows), differences=differences, packages=packages or [])


NOISE = row(
    1.5, 2.25, (0.3, 0.5), quantity="signal_to_noise", rule="signal_to_noise:20%", effect=0.405465, margin=0.182322,
    unit="log of the ratio",
)  # fmt: skip
NEGATIVE = row(-0.0093, -0.01392, (-0.00605, -0.00335), effect=-0.00462)
SENTENCES = {
    "a rise": (row(), CHANGED),
    "of a negative baseline half as large again is a rise, too": (
        NEGATIVE,
        "δH₁ -0.0093 → -0.0139 nats/response (+50 %, CI +36 % … +65 %; allowed ± 5 %)",
    ),
    "an absolute margin": (
        replace(row(), rule="delta_h1:0.001", margin=0.001),
        "δH₁ 0.0093 → 0.0139 nats/response (+50 %, CI +36 % … +65 %; allowed ± 0.001 nats/response)",
    ),
    "one direction is named by its sign": (
        replace(NEGATIVE, rule="delta_h1:-5%"),
        "δH₁ -0.0093 → -0.0139 nats/response (+50 %, CI +36 % … +65 %; "
        "allowed at most 5 % (0.00047 nats/response) lower)",
    ),
    "a baseline of zero has no percentages": (
        row(0.0, 0.00462, rule="delta_h1:0.001", margin=0.001),
        "δH₁ 0 → 0.00462 nats/response (by +0.00462, CI +0.00335 … +0.00605; allowed ± 0.001 nats/response)",
    ),
    "too few prompts for an interval": (
        row(ci=None, n=8),
        "δH₁ 0.0093 → 0.0139 nats/response (+50 %, no interval: 8 prompts are too few (it takes 32 to decide); "
        "allowed ± 5 %)",
    ),
    "the noise is compared as a ratio": (
        NOISE,
        "signal_to_noise 1.50 → 2.25 (+50 %, CI +35 % … +65 %; allowed -17 % … +20 %)",
    ),
    "the noise in one direction": (
        replace(NOISE, rule="signal_to_noise:+20%"),
        "signal_to_noise 1.50 → 2.25 (+50 %, CI +35 % … +65 %; allowed at most 20 % higher)",
    ),
    "entropy": (
        row(1.75, 2.2, (0.4, 0.5), quantity="entropy", rule="entropy:2%", effect=0.45),
        "entropy 1.75 → 2.20 nats/response (+26 %, CI +23 % … +29 %; allowed ± 2 %)",
    ),
    "another quantity with its own unit": (
        row(12.0, 18.0, (5.0, 7.0), quantity="seconds", rule="seconds:+20%", effect=6.0, margin=2.4, unit="s per run"),
        "seconds 12.0 → 18.0 s/run (+50 %, CI +42 % … +58 %; allowed at most 20 % (2.4 s/run) higher)",
    ),
    "a small change of a large value is seen": (
        row(1.75, 1.7512, (0.0001, 0.0023), quantity="entropy", rule="entropy:2%", effect=0.0012, verdict="pass"),
        "entropy 1.7500 → 1.7512 nats/response (+0.069 %, CI +0.0057 % … +0.13 %; allowed ± 2 %)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SENTENCES)
def test_the_sentence(case: str) -> None:
    given, words = SENTENCES[case]
    assert sentence(given) == words


def test_both_errors_of_each_side_follow_the_reason() -> None:
    errors = SideErrors(se_conditional=0.00031, se_total=0.0012)
    one = replace(row(), errors_before=errors, errors_after=SideErrors(se_conditional=0.00042))
    words = (
        "baseline: ± 0.00031 for this update batch, ± 0.0012 over update batches; now: ± 0.00042 for this update batch"
    )
    assert both_errors(one) == words
    assert both_errors(replace(one, errors_before=None, errors_after=SideErrors())) == ""
    single = replace(one, scope="over batches", errors_before=None)
    assert both_errors(single) == "now: ± 0.00042 over batches"
    said = gate_reason(of(one, differences=["seed 0 → 1"]))
    assert said == f"{CHANGED}; likely causes: seed 0 → 1. B{words[1:]}"


CAUSES = {
    "settings, then packages": (
        of(row(), differences=["probe.advantage grpo → rloo", "seed 0 → 1"], packages=["torch 2.12 → 2.13"]),
        "probe.advantage grpo → rloo; seed 0 → 1; torch 2.12 → 2.13",
    ),
    "packages only": (
        of(row(), differences=[], packages=["peft 0.17 → 0.18", "torch 2.12 → 2.13"]),
        "same checkpoint and settings: the code or a library changed (peft 0.17 → 0.18, torch 2.12 → 2.13); "
        f"look at {LOOK}",
    ),
    "nothing differs": (of(row(), differences=[]), f"same checkpoint and settings: the code changed; look at {LOOK}"),
    "an older file, which did not look": (of(row()), f"look at {LOOK}"),
    "the policy's entropy moved": (
        of(row(), row(1.75, 1.76, (0.001, 0.02), quantity="entropy", verdict="pass", effect=0.01), differences=[]),
        "same checkpoint and settings: the code changed; the policy's own entropy 1.750 → 1.760 nats/response; "
        f"look at {LOOK}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUSES)
def test_the_likely_causes(case: str) -> None:
    comparison, words = CAUSES[case]
    assert likely_causes(comparison, comparison.rows("fail")) == words
    assert gate_reason(comparison) == f"{CHANGED}; likely causes: {words}"


def test_causes_of_two_changes_are_said_once() -> None:
    both = of(row(), NOISE, row(1.75, 1.75, (0, 0), quantity="entropy", effect=0, verdict="pass"), differences=["x"])
    assert gate_reason(both) == f"{CHANGED}; {sentence(NOISE)}; likely causes: x"


OTHER_UPDATE = "the update batch drew other responses: measure both on one machine"


def undecided(quantity: str, reason: str = OTHER_UPDATE) -> QuantityRow:
    return row(None, None, None, quantity=quantity, effect=None, margin=None, verdict="inconclusive", causes=reason)


UNDECIDED = {
    "one reason of two quantities is said once": (
        of(undecided("delta_h1"), undecided("signal_to_noise"), differences=[], packages=["torch 2.12 → 2.13"]),
        f"δH₁ and signal_to_noise: {OTHER_UPDATE}; likely causes: torch 2.12 → 2.13",
    ),
    "two reasons": (
        of(undecided("delta_h1"), undecided("entropy", "it is zero")),
        f"δH₁: {OTHER_UPDATE}. Entropy: it is zero",
    ),
    "what would decide, and by which option": (
        of(row(verdict="inconclusive", needed=412)),
        f"{CHANGED}: the interval lies neither inside nor outside of what is allowed; "
        f"to decide: 412 prompts in all runs, now 96, by {MORE}",
    ),
    "where no number is known": (
        of(row(verdict="inconclusive")),
        f"{CHANGED}: the interval lies neither inside nor outside of what is allowed; to decide: {MORE}",
    ),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_an_inconclusive_comparison_says_its_reason_and_what_would_decide(case: str) -> None:
    comparison, words = UNDECIDED[case]
    assert gate_reason(comparison) == words
    assert in_words(comparison) == f"INCONCLUSIVE: {words}"


def test_what_did_not_change_is_called_unchanged() -> None:
    same = row(0.0093, 0.0093, (0.0, 0.0), effect=0.0, verdict="pass")
    words = "δH₁ unchanged: 0.00930 → 0.00930 nats/response (0 %, CI 0 % … 0 %; allowed ± 5 %)"
    assert gate_reason(of(same)) == in_words(of(same)) == words


def test_the_worst_quantity_decides() -> None:
    passed, open_, failed = row(verdict="pass"), undecided("entropy"), NOISE
    assert of(passed).overall == "pass"
    assert of(passed, open_).overall == "inconclusive"
    assert of(passed, open_, failed).overall == "fail"


def test_summary_and_report_and_page_show_the_one_text(tmp_path: Path) -> None:
    comparison = of(row(), differences=[], packages=["torch 2.12 → 2.13"])
    reason = gate_reason(comparison)
    directory = store_experiment(tmp_path)
    write_json(directory / "comparison.json", comparison.to_dict())
    # As the session notes it: the item failed for this reason.
    note_item(directory, "against_baseline", reason)
    view = write_reports(directory)
    assert view.headline == f"FAILED against the baseline main: {reason}"
    for name in ("summary.md", "report.html"):
        assert (directory / name).read_text().count(reason) == 1, name
    assert "against_baseline: the reason is at the top" in (directory / "report.html").read_text()
    assert to_page({"batch_scaling": comparison}, "a", "b").count(reason) == 1
    write_json(directory / "check_score_identity.json", outcome(9.0))
    words = f"FAILED: score_identity (rejected: nothing); against the baseline main: {reason}"
    assert write_reports(directory).headline == words


def test_the_reason_of_an_inconclusive_comparison_stands_once(tmp_path: Path) -> None:
    comparison = of(undecided("delta_h1"), undecided("signal_to_noise"))
    directory = store_experiment(tmp_path)
    write_json(directory / "comparison.json", comparison.to_dict())
    view = write_reports(directory)
    words = f"δH₁ and signal_to_noise: {OTHER_UPDATE}"
    assert view.headline == f"INCONCLUSIVE against the baseline main: {words}; 4 runs; no checks"
    for name in ("summary.md", "report.html"):
        assert (directory / name).read_text().count(OTHER_UPDATE) == 1, name
    # Beside a check that could not decide either.
    write_json(directory / "check_score_identity.json", {**outcome(0.0), "verdict": "inconclusive"})
    headline = write_reports(directory).headline
    assert headline.startswith("INCONCLUSIVE: score_identity: ")
    assert headline.endswith(f"; against the baseline main: δH₁ and signal_to_noise: {OTHER_UPDATE}")
