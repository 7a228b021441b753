"""Two sets of stored experiments against each other: base and head of a change, or two machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_entropy.baselines.baseline import gather, refuse_another
from pytest_entropy.baselines.compare import Compared, compare
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.errors import UsageError
from pytest_entropy.records.comparison import QuantityRow
from pytest_entropy.reports.pages import page
from pytest_entropy.reports.sections.comparison import comparison_plot
from pytest_entropy.stats import format_measure

WORDS = {"pass": "no change seen", "fail": "CHANGED", "inconclusive": "INCONCLUSIVE"}


def compare_places(
    before: Path, after: Path, expressions: Sequence[str], *, alpha: float, anyway: bool = False
) -> dict[str, list[Compared]]:
    """Comparisons by experiment; ``alpha`` is shared among the experiments.

    Raises:
        UsageError: a place holds no experiments, an experiment has no counterpart, or they measured different things.
    """
    rules = parse_rules(expressions or [DEFAULT])
    old, new = gather(before), gather(after)
    alone = sorted(set(new) - set(old))
    if alone:
        raise UsageError(f"{before} has no {', '.join(alone)} to compare {after} with")
    if not anyway:
        for name, experiment in new.items():
            where = f"{before} ({name})"
            refuse_another(old[name], experiment.checkpoint_digest, experiment.objective, where)
    return {name: compare(old[name], new[name], rules, alpha=alpha / len(new)) for name in new}


def word(comparison: Compared) -> str:
    """The verdict in a word: ``unchanged`` only where the interval lies within the margin."""
    ci, margin = comparison.outcome.ci, comparison.margin
    within = ci is not None and margin is not None and -margin <= ci[0] and ci[1] <= margin
    return "unchanged" if within and comparison.outcome.verdict == "pass" else WORDS[comparison.outcome.verdict]


def in_words(comparison: Compared) -> str:
    """``delta_h1: unchanged, by 0.0001 ± 0.0004 nats per response for this update batch (rule delta_h1:5%)``."""
    outcome, rule = comparison.outcome, comparison.rule
    verdict = f"{rule.quantity}: {word(comparison)}"
    if outcome.effect is None or outcome.ci is None:
        return f"{verdict}: {outcome.likely_causes}"
    # A 95 % interval's half-width, as a standard error.
    measure = format_measure(outcome.effect, (outcome.ci[1] - outcome.ci[0]) / 3.92)
    over = f" {comparison.scope}" if comparison.scope else ""
    return f"{verdict}, by {measure} {outcome.unit}{over} (rule {rule.text})"


def to_rows(comparisons: Sequence[Compared]) -> list[QuantityRow]:
    """The rows of ``comparison.json`` and of the pages."""
    return [
        QuantityRow(
            quantity=one.rule.quantity,
            rule=one.rule.text,
            before=one.before,
            after=one.after,
            margin=one.margin,
            outcome=one.outcome,
            scope=one.scope,
            word=word(one),
        )
        for one in comparisons
    ]


def to_page(found: Mapping[str, Sequence[Compared]], before: str, after: str) -> str:
    """The comparison as a self-contained page."""
    experiments = {name: to_rows(comparisons) for name, comparisons in found.items()}
    plots = {name: comparison_plot(rows) for name, rows in experiments.items()}
    verdicts = {c.outcome.verdict for comparisons in found.values() for c in comparisons}
    tone = next(verdict for verdict in ("fail", "inconclusive", "pass") if verdict in verdicts)
    of_tone = {
        name: [row.quantity for row in rows if row.outcome.verdict == tone] for name, rows in experiments.items()
    }
    said = [f"{name}: {', '.join(quantities)} {WORDS[tone]}" for name, quantities in of_tone.items() if quantities]
    return page(
        "comparison.html", before=before, after=after, experiments=experiments, plots=plots, tone=tone,
        headline="; ".join(said),
    )  # fmt: skip
