"""The regression gate's reason, one text for terminal, JUnit, step summary and report, made from the comparison."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from pytest_entropy.records.comparison import Comparison, QuantityRow, SideErrors
from pytest_entropy.stats.intervals import too_few
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE, OVER_UPDATES
from pytest_entropy.stats.signal import format_error

LABELS = {"delta_h1": "δH₁", "entropy": "entropy", "signal_to_noise": "signal_to_noise"}
MORE = "more --runs or a larger B_E (--be-values; --be of a single run), in the baseline too"
_RULE = re.compile(r"[:~](?P<direction>[+-]?)(?P<size>[0-9.]+(?:[eE][+-]?\d+)?)(?P<share>%?)$")
# Quantities that are compared by the logarithm of their ratio.
_RATIOS = ("signal_to_noise",)
# Significant digits of a value: of a large one as few as are needed to see the change, within these.
_FEWEST, _MOST = 3, 6


def gate_reason(comparison: Comparison) -> str:
    """Why the gate decided as it did, without its verdict's word.

    Of a change, the quantities that changed and the likely causes, then both errors of each side; of an inconclusive
    comparison, the reason once and what would decide; else each quantity, unchanged.
    """
    rows = comparison.rows(comparison.overall)
    if comparison.overall == "inconclusive":
        return _undecided(comparison, rows)
    if comparison.overall == "pass":
        return "; ".join(sentence(row, row.word) for row in rows)
    changes = "; ".join(sentence(row) for row in rows)
    return _sentences([f"{changes}; likely causes: {likely_causes(comparison, rows)}", *map(both_errors, rows)])


def sentence(row: QuantityRow, word: str = "") -> str:
    """One quantity: both values, the change with its interval, and what the rule allows.

    For example ``δH₁ 0.0093 → 0.0139 nats/response (+50 %, CI +36 % … +65 %; allowed ± 5 %)``.

    Args:
        row: a quantity that could be compared.
        word: the verdict in a word or two, after the quantity's name; empty for none.
    """
    if row.before is None or row.after is None or row.outcome.effect is None:
        return f"{_label(row)} {word or row.word}: {row.outcome.likely_causes}"
    unit = "" if row.quantity in _RATIOS else f" {_unit(row)}"
    before, after = _values(row.before, row.after)
    change = f"{_change(row, row.outcome.effect)}, {_interval(row)}; allowed {_allowed(row)}"
    return f"{_label(row)} {f'{word}: ' if word else ''}{before} → {after}{unit} ({change})"


def likely_causes(comparison: Comparison, rows: Iterable[QuantityRow]) -> str:
    """What differs between the baseline and now, by name; then where in the code to look.

    Args:
        comparison: with the differences that were found.
        rows: the quantities that changed.
    """
    rows = list(rows)
    look = "look at " + "; ".join(dict.fromkeys(row.outcome.likely_causes for row in rows))
    moved = [
        sentence(row).partition(" (")[0]
        for row in comparison.quantities
        if row.quantity == "entropy" and row not in rows and _moved(row)
    ]
    symptoms = [f"the policy's own {one}" for one in moved]
    packages = ", ".join(comparison.packages)
    if comparison.differences:
        return "; ".join([*comparison.differences, *comparison.packages, *symptoms])
    if comparison.differences is None:
        return "; ".join([*comparison.packages, *symptoms, look])
    changed = f"the code or a library changed ({packages})" if packages else "the code changed"
    return "; ".join([f"same checkpoint and settings: {changed}", *symptoms, look])


def both_errors(row: QuantityRow) -> str:
    """Both standard errors of each side of delta_h1, where they were recorded; empty for other quantities."""
    sides = [
        f"{name}: {words}"
        for name, errors in (("baseline", row.errors_before), ("now", row.errors_after))
        if errors is not None and (words := errors_in_words(errors, row.scope))
    ]
    return "; ".join(sides)


def errors_in_words(errors: SideErrors, scope: str) -> str:
    """Both errors, each with its source of randomness; empty where neither was recorded.

    >>> errors_in_words(SideErrors(se_conditional=0.00097, se_total=0.0046), "for this update batch")
    '± 0.00097 for this update batch, ± 0.0046 over update batches'

    Args:
        errors: of one side.
        scope: the batches over which the first one holds.
    """
    pairs = ((errors.se_conditional, scope or FOR_THIS_UPDATE), (errors.se_total, OVER_UPDATES))
    return ", ".join(f"± {format_error(se)} {over}" for se, over in pairs if se is not None)


def _undecided(comparison: Comparison, rows: Sequence[QuantityRow]) -> str:
    """The rows that could not be decided; those of one reason share it."""
    by_reason: dict[str, list[str]] = {}
    decided, needed = [], []
    for row in rows:
        if row.outcome.effect is None:
            by_reason.setdefault(row.outcome.likely_causes, []).append(_label(row))
        else:
            decided.append(sentence(row))
            needed.append(_prompts_needed(row))
    parts = [f"{' and '.join(labels)}: {reason}" for reason, labels in by_reason.items()]
    found = [*(comparison.differences or ()), *comparison.packages]
    if parts and found:
        parts[-1] += f"; likely causes: {'; '.join(found)}"
    if decided:
        words = "; ".join(filter(None, dict.fromkeys(needed)))
        what = "the interval lies neither inside nor outside of what is allowed"
        parts.append(f"{'; '.join(decided)}: {what}; to decide: {f'{words}, by ' if words else ''}{MORE}")
    return _sentences([*parts, *map(both_errors, rows)])


def _prompts_needed(row: QuantityRow) -> str:
    needed = row.outcome.samples_needed
    return "" if needed is None else f"{needed} prompts in all runs, now {row.outcome.n}"


def _sentences(parts: Iterable[str]) -> str:
    """The parts that are not empty as sentences; the last one ends without a full stop, as other reasons do."""
    said = [part for part in dict.fromkeys(parts) if part]
    return ". ".join(part[0].upper() + part[1:] if number and part[0].islower() else part
                     for number, part in enumerate(said))  # fmt: skip


def _label(row: QuantityRow) -> str:
    return LABELS.get(row.quantity, row.quantity)


def _unit(row: QuantityRow) -> str:
    return row.outcome.unit.replace(" per ", "/")


def _moved(row: QuantityRow) -> bool:
    """Whether the interval of a quantity's difference leaves out 0."""
    ends = row.outcome.ci
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def _interval(row: QuantityRow) -> str:
    if row.outcome.ci is None:
        return too_few(row.outcome.n) or "no interval"
    ends = [_relative(row, end) for end in row.outcome.ci]
    shares = [end for end in ends if end is not None]
    if len(shares) < len(ends):
        return f"CI {row.outcome.ci[0]:+.3g} … {row.outcome.ci[1]:+.3g}"
    # Of a negative baseline the larger difference is the smaller share.
    return f"CI {_percent(min(shares))} … {_percent(max(shares))}"


def _change(row: QuantityRow, effect: float) -> str:
    share = _relative(row, effect)
    return _percent(share) if share is not None else f"by {effect:+.3g}"


def _relative(row: QuantityRow, difference: float) -> float | None:
    """A difference as a share of the baseline; None of a baseline of 0."""
    if row.quantity in _RATIOS:
        return math.expm1(difference)
    return difference / row.before if row.before else None


def _allowed(row: QuantityRow) -> str:
    rule = _RULE.search(row.rule)
    margin = row.margin
    if rule is None or margin is None:
        return row.rule
    if row.quantity in _RATIOS and not rule["direction"]:
        return f"{_percent(math.expm1(-margin))} … {_percent(math.expm1(margin))}"
    size = f"{rule['size']} %" if rule["share"] else f"{rule['size']} {_unit(row)}"
    if not rule["direction"]:
        return f"± {size}"
    # By its sign: of a negative baseline a fall is an increase in size.
    absolute = f" ({margin:.2g} {_unit(row)})" if rule["share"] and row.quantity not in _RATIOS else ""
    return f"at most {size}{absolute} {'lower' if rule['direction'] == '-' else 'higher'}"


def _percent(share: float) -> str:
    """A share with its sign in per cent, to two digits.

    >>> _percent(0.4955), _percent(-0.0123), _percent(0.0), _percent(12.0)
    ('+50 %', '-1.2 %', '0 %', '+1200 %')
    """
    per_cent = 100 * share
    if per_cent == 0:
        return "0 %"
    return f"{per_cent:+.0f} %" if abs(per_cent) >= 9.95 else f"{per_cent:+.2g} %"


def _values(before: float, after: float) -> tuple[str, str]:
    """Both values to the same digit, at which their difference is seen.

    >>> _values(0.00931, 0.01392), _values(1.75, 1.75), _values(3.2e-7, 4.1e-7)
    (('0.0093', '0.0139'), ('1.75', '1.75'), ('3.20e-07', '4.10e-07'))
    """
    larger, difference = max(abs(before), abs(after)), abs(after - before)
    power = math.floor(math.log10(larger)) if larger else 0
    needed = power - math.floor(math.log10(difference)) + 2 if difference else _FEWEST
    digits = min(_MOST, max(_FEWEST, needed))
    form = f".{max(0, digits - 1 - power)}f" if -5 <= power < 6 else f".{digits - 1}e"
    old, new = (f"{value:{form}}" if value else "0" for value in (before, after))
    return old, new
