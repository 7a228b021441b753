"""Rules for the regression gate: parse expressions such as ``delta_h1:5%``, ``entropy:-0.01`` or ``delta_h1~5%``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_entropy.errors import UsageError

QUANTITIES = ("delta_h1", "entropy", "signal_to_noise")
DEFAULT = "delta_h1:5%,entropy:2%,signal_to_noise:20%"
_FORM = re.compile(
    r"(?P<quantity>\w+)(?P<kind>[:~])(?P<direction>[+-]?)(?P<size>[0-9.]+(?:[eE][+-]?\d+)?)(?P<share>%?)"
)


@dataclass(frozen=True)
class Rule:
    """The largest tolerated change of one quantity.

    Attributes:
        quantity: ``delta_h1``, ``entropy``, or ``signal_to_noise`` (the per-prompt spread over the mean).
        kind: ``difference`` fails where the interval on the difference lies outside the margin; ``equivalence``
            passes only where it lies inside, and is inconclusive in between.
        direction: 1 or -1 if only an increase or a decrease counts, 0 for both.
        size: the margin, in the quantity's unit, or as a share of the baseline's value if ``relative``.
        text: the expression.
    """

    quantity: str
    kind: Literal["difference", "equivalence"]
    direction: Literal[-1, 0, 1]
    size: float
    relative: bool
    text: str

    def margin(self, before: float) -> float:
        """The margin in the unit of the difference (signal_to_noise: log ratio), for a baseline value ``before``."""
        if self.quantity == "signal_to_noise":
            return math.log1p(self.size)
        return self.size * abs(before) if self.relative else self.size


def parse_rules(expressions: Sequence[str]) -> list[Rule]:
    """Parse expressions, each of which may hold several rules separated by commas.

    Raises:
        UsageError: an expression is not a rule, its quantity is unknown, or a quantity has two rules.
    """
    rules: dict[str, Rule] = {}
    for text in (part.strip() for expression in expressions for part in expression.split(",")):
        rule = _parse(text)
        if rule.quantity in rules:
            raise UsageError(f"{text!r}: {rule.quantity} already has a rule ({rules[rule.quantity].text})")
        rules[rule.quantity] = rule
    return list(rules.values())


def _parse(text: str) -> Rule:
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a rule such as delta_h1:5% (differs by more than 5 %), entropy:-0.01 (falls by more than "
            "0.01), or delta_h1~5% (is not shown to be within 5 %)"
        )
    quantity, share = match["quantity"], match["share"] == "%"
    if quantity not in QUANTITIES:
        raise UsageError(f"{text!r}: unknown quantity {quantity!r}; known: {', '.join(QUANTITIES)}")
    try:
        size = float(match["size"]) / (100 if share else 1)
    except ValueError:
        raise UsageError(f"{text!r}: {match['size']!r} is not a number") from None
    if not 0 < size < math.inf:
        raise UsageError(f"{text!r}: the margin must be positive; rounding alone makes any two machines differ")
    if quantity == "signal_to_noise" and not share:
        raise UsageError(f"{text!r}: give the margin of signal_to_noise in per cent")
    kind: Literal["difference", "equivalence"] = "difference" if match["kind"] == ":" else "equivalence"
    if kind == "equivalence" and match["direction"]:
        raise UsageError(f"{text!r}: equivalence has no direction")
    direction: Literal[-1, 0, 1] = 1 if match["direction"] == "+" else -1 if match["direction"] == "-" else 0
    return Rule(quantity, kind, direction, size, share, text)
