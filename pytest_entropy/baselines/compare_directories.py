"""Compare two sets of stored experiments: base and head of a code change, or two machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_entropy.baselines.baseline_file import gather, refuse_another
from pytest_entropy.baselines.compare import Compared, compare
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.errors import UsageError
from pytest_entropy.records.comparison import QuantityRow
from pytest_entropy.reports.pages import page
from pytest_entropy.reports.sections.comparison import comparison_plot
from pytest_entropy.stats.intervals import too_few

# The options of ``python -m pytest_entropy compare`` that messages name; a session's have other names.
ANYWAY = "--anyway"
REMEDY = f"measure both alike, or give {ANYWAY}"
WORDS = {"pass": "no change seen", "fail": "CHANGED", "inconclusive": "INCONCLUSIVE"}


def compare_places(
    before: Path, after: Path, expressions: Sequence[str], *, alpha: float, anyway: bool = False
) -> dict[str, list[Compared]]:
    """Compare the stored experiments of two places, by experiment name.

    Args:
        before, after: baseline files, experiment directories or results directories (:func:`.baseline.gather`).
        expressions: rules (:mod:`.rules`); the default ones if empty.
        alpha: the chance, in (0, 1), that any comparison fails on equal experiments; shared among the experiments.
        anyway: compare different checkpoints and quantities, too.

    Raises:
        UsageError: an expression is no rule, a place holds no experiments, an experiment has no counterpart, or the
            two measured different quantities.
    """
    try:
        rules = parse_rules(expressions or [DEFAULT])
    except UsageError as error:
        raise UsageError(f"--fail: {error}") from error
    old, new = (gather(place, anyway=anyway, flag=ANYWAY) for place in (before, after))
    unmatched = sorted(set(new) - set(old))
    if unmatched:
        raise UsageError(f"{before} has no {', '.join(unmatched)} to compare {after} with")
    if not anyway:
        for name, experiment in new.items():
            refuse_another(
                old[name], experiment.checkpoint_digest, experiment.objective, f"{before} ({name})", remedy=REMEDY
            )
    return {name: compare(old[name], new[name], rules, alpha=alpha / len(new)) for name in new}


def word(comparison: Compared) -> str:
    """The verdict in a word or two: ``unchanged`` only where the interval lies within the margin."""
    ci, margin = comparison.outcome.ci, comparison.margin
    within = ci is not None and margin is not None and -margin <= ci[0] and ci[1] <= margin
    return "unchanged" if within and comparison.outcome.verdict == "pass" else WORDS[comparison.outcome.verdict]


def in_words(comparison: Compared) -> str:
    """The comparison in a line.

    For example ``delta_h1: unchanged, by 0.0001 nats per response for this update batch, 95 % CI
    [-0.0007, 0.0009] (rule delta_h1:5%)``.
    """
    outcome, rule = comparison.outcome, comparison.rule
    verdict = f"{rule.quantity}: {word(comparison)}"
    if outcome.effect is None:
        return f"{verdict}: {outcome.likely_causes}"
    ends = f"95 % CI [{outcome.ci[0]:.3g}, {outcome.ci[1]:.3g}]" if outcome.ci is not None else too_few(outcome.n)
    over = f" {comparison.scope}" if comparison.scope else ""
    return f"{verdict}, by {outcome.effect:.3g} {outcome.unit}{over}, {ends} (rule {rule.text})"


def to_rows(comparisons: Sequence[Compared]) -> list[QuantityRow]:
    """The comparisons as rows of ``comparison.json`` and of the HTML pages."""
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


def to_page(comparisons: Mapping[str, Sequence[Compared]], before: str, after: str) -> str:
    """The comparisons as a self-contained HTML page.

    Args:
        comparisons: by experiment name.
        before, after: the two places, as the page names them.
    """
    experiments = {name: to_rows(compared) for name, compared in comparisons.items()}
    plots = {name: comparison_plot(rows) for name, rows in experiments.items()}
    verdicts = {one.outcome.verdict for compared in comparisons.values() for one in compared}
    tone = next(verdict for verdict in ("fail", "inconclusive", "pass") if verdict in verdicts)
    of_tone = {
        name: [row.quantity for row in rows if row.outcome.verdict == tone] for name, rows in experiments.items()
    }
    headlines = [f"{name}: {', '.join(quantities)} {WORDS[tone]}" for name, quantities in of_tone.items() if quantities]
    return page(
        "comparison.html", before=before, after=after, experiments=experiments, plots=plots, tone=tone,
        headline="; ".join(headlines),
    )  # fmt: skip
