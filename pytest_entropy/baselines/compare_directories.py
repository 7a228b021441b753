"""Compare two sets of stored experiments: base and head of a code change, or two machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_entropy.baselines.baseline_file import gather, refuse_another
from pytest_entropy.baselines.compare import Compared, compare, paired_runs
from pytest_entropy.baselines.differences import differences, package_differences
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.errors import UsageError
from pytest_entropy.records.baseline import Snapshot
from pytest_entropy.records.comparison import Comparison, QuantityRow
from pytest_entropy.reports.gate_reason import gate_reason
from pytest_entropy.reports.pages import page
from pytest_entropy.reports.sections.comparison import comparison_plot

# The options of ``python -m pytest_entropy compare`` that messages name; a session's have other names.
ANYWAY = "--anyway"
REMEDY = f"measure both alike, or give {ANYWAY}"
WORDS = {"pass": "no change seen", "fail": "CHANGED", "inconclusive": "INCONCLUSIVE"}


def compare_places(
    before: Path, after: Path, expressions: Sequence[str], *, alpha: float, anyway: bool = False
) -> dict[str, Comparison]:
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
            where = f"{before} ({name})"
            refuse_another(old[name], experiment.checkpoint_digest, experiment.objective, where, remedy=REMEDY)
    share = alpha / len(new)
    return {
        name: comparison_of(str(before), old[name], new[name], compare(old[name], new[name], rules, alpha=share))
        for name in new
    }


def comparison_of(baseline: str, before: Snapshot, after: Snapshot, compared: Sequence[Compared]) -> Comparison:
    """The comparison as it is stored, with what differs besides the compared quantities.

    Args:
        baseline: the baseline's name.
        before, after: the snapshots of the baseline and of now.
        compared: the comparison of each quantity.
    """
    return Comparison(
        baseline=baseline,
        pairing=f"{len(paired_runs(before, after))} of {len(after.runs)} runs paired by seed and B_E",
        quantities=to_rows(compared),
        differences=differences(before, after),
        packages=package_differences(before, after),
    )


def word(comparison: Compared) -> str:
    """The verdict in a word or two: ``unchanged`` only where the interval lies within the margin."""
    ci, margin = comparison.outcome.ci, comparison.margin
    within = ci is not None and margin is not None and -margin <= ci[0] and ci[1] <= margin
    return "unchanged" if within and comparison.outcome.verdict == "pass" else WORDS[comparison.outcome.verdict]


def in_words(comparison: Comparison) -> str:
    """The comparison in a line, its verdict's word first."""
    changed = {"fail": "CHANGED: ", "inconclusive": "INCONCLUSIVE: ", "pass": ""}
    return f"{changed[comparison.overall]}{gate_reason(comparison)}"


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
            errors_before=one.errors_before,
            errors_after=one.errors_after,
        )
        for one in comparisons
    ]


def to_page(comparisons: Mapping[str, Comparison], before: str, after: str) -> str:
    """The comparisons as a self-contained HTML page.

    Args:
        comparisons: by experiment name.
        before, after: the two places, as the page names them.
    """
    experiments = {name: comparison.quantities for name, comparison in comparisons.items()}
    plots = {name: comparison_plot(rows) for name, rows in experiments.items()}
    verdicts = {comparison.overall for comparison in comparisons.values()}
    tone = next(verdict for verdict in ("fail", "inconclusive", "pass") if verdict in verdicts)
    of_tone = [f"{name}: {in_words(one)}" for name, one in comparisons.items() if one.overall == tone]
    return page(
        "comparison.html", before=before, after=after, experiments=experiments, plots=plots, tone=tone,
        headline="; ".join(of_tone),
    )  # fmt: skip
