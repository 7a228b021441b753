"""The ledger of the audit: compares a reported number with its source, and keeps the differences in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_entropy.records.paths import RESULTS
from pytest_entropy.reports.audit import printed
from pytest_entropy.reports.audit.arithmetic import agree

# Begins the message of a session or command about a discrepancy.
DIFFERS = "REPORTED OTHERWISE THAN MEASURED"
RESULTS_SAY = f"its {RESULTS} says"


def finite(value: object) -> float | None:
    """A number as a float; None for anything else, and for NaN, which counts as not measured."""
    if type(value) is float:
        return None if value != value else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if math.isnan(value) else float(value)


def lookup(record: Any, key: str) -> Any:
    """The value at a dotted key of nested mappings; None where there is none."""
    # Records are read from JSON: the plain type is asked first, for there are ten thousand of them.
    if type(record) is dict and "." not in key:
        return record.get(key)
    for part in key.split("."):
        record = record.get(part) if type(record) is dict or isinstance(record, Mapping) else None
    return record


def numbers(values: object) -> list[float]:
    """The values as floats; an empty list where one of them is no number."""
    if type(values) is list:
        floats = [value for value in values if type(value) is float and value == value]
        if len(floats) == len(values):
            return floats
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    found = [finite(value) for value in values]
    return [] if None in found else [value for value in found if value is not None]


class Ledger:
    """The discrepancies found so far.

    Attributes:
        found: the discrepancies in words, by the file that reports the number.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def differs(self, file: str, words: str) -> None:
        """Note a discrepancy.

        Args:
            file: the file that reports the number.
            words: which number, what it is, and what it should be.
        """
        self.found.setdefault(file, []).append(words)

    def number(
        self, file: str, what: str, reported: object, source: float | None, *, says: str = RESULTS_SAY,
        within: float = 0.0,
    ) -> None:  # fmt: skip
        """Compare a number reported in full precision, or as text that holds nothing else.

        Args:
            file: the file that reports it.
            what: the number in words.
            reported: as it was read back; None or empty text where there is none.
            source: what it should be; None or NaN where it was not measured.
            says: where ``source`` is from.
            within: a difference that is tolerated besides rounding.
        """
        try:
            value = float(reported) if isinstance(reported, str) and reported else finite(reported)
        except ValueError:
            self.differs(file, f"{what} is {reported!r}, {says} {_shown(source)}")
            return
        # Nearly every number is the very same, and needs no arithmetic.
        if value is not None and type(source) is float and value == source:
            return
        if not agree(None if value is None or math.isnan(value) else value, finite(source), within=within):
            self.differs(file, f"{what} is {_shown(value)}, {says} {_shown(source)}")

    def text(self, file: str, what: str, reported: object, source: object, *, says: str = RESULTS_SAY) -> None:
        """Compare a text, or another value that has to be equal.

        Args:
            file, what, reported, source, says: as in :meth:`number`.
        """
        if reported != source:
            self.differs(file, f"{what} is {reported!r}, {says} {source!r}")

    def printed(
        self, file: str, what: str, text: str, source: float | None, *, says: str = RESULTS_SAY, absent: str = "-"
    ) -> None:
        """Compare a printed number, to its printed digits.

        Args:
            file, what, source, says: as in :meth:`number`.
            text: the number as printed.
            absent: what is printed where there is no number.
        """
        if source is None or math.isnan(source):
            if text.strip() not in (absent, "nan", ""):
                self.differs(file, f"{what} is {text.strip()}, {says} {_shown(source)}")
            return
        try:
            shown = printed.number(text)
        except ValueError:
            shown = None
        if shown is None or not agree(shown.value, source, within=shown.half):
            self.differs(file, f"{what} is {text.strip()}, {says} {_shown(source)}")

    def measure(
        self, file: str, what: str, text: str, value: float | None, se: float | None, *, says: str = RESULTS_SAY
    ) -> None:
        """Compare a printed measurement ``value ± se``, to its printed digits.

        Args:
            file, what, says: as in :meth:`number`.
            text: the measurement as printed.
            value, se: what it should be; None where it is not known.
        """
        try:
            shown, error = printed.measure(text)
        except ValueError:
            self.differs(file, f"{what} is {text!r}, {says} {_shown(value)} ± {_shown(se)}")
            return
        if value is None or not agree(shown.value, value, within=shown.half):
            self.differs(file, f"{what} is {text}, {says} {_shown(value)} ± {_shown(se)}")
        elif (error is None) != (se is None) or (error is not None and not agree(error.value, se, within=error.half)):
            self.differs(file, f"{what} is {text}, {says} {_shown(value)} with the standard error {_shown(se)}")

    def lines(self) -> list[str]:
        """A line per file: its first discrepancy, and how many more there are."""
        return [
            f"{file}: {found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
            for file, found in self.found.items()
        ]


def _shown(value: float | None) -> str:
    return "missing" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value:.6g}"
