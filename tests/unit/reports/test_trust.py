"""Whether the probe can be trusted, from its checks' outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.reports.trust import trust_in_words
from pytest_entropy.stats import CheckOutcome


def outcome(name: str, verdict: Any, p_value: float | None = None) -> CheckOutcome:
    return CheckOutcome(name, "it holds", None, p_value, 1e-4, None, None, "", 8, verdict, None, None, None, "")


EXACT, DECIDED = outcome("draws", "pass"), outcome("se_calibration", "pass", 0.4)
OPEN, RED = outcome("se_slope", "inconclusive", 0.4), outcome("definition", "fail")


@pytest.mark.parametrize(
    ("checks", "failed", "words"),
    [
        ([EXACT, DECIDED], False, "the probe can be trusted here: 2 checks passed"),
        (
            [EXACT, DECIDED, OPEN], False,
            "the probe can be trusted here: 2 checks passed, 1 could not decide (se_slope)",
        ),
        (
            [EXACT, OPEN], False,
            "whether the probe can be trusted here is not known: 1 exact checks passed, 1 could not decide (se_slope)",
        ),
        ([EXACT, DECIDED, RED], False, "the probe cannot be trusted here: 1 of 3 checks failed (definition)"),
        ([EXACT, DECIDED, RED], True, "the probe cannot be trusted here: 1 of 3 checks failed (definition)"),
        ([EXACT, DECIDED], True, "whether the probe can be trusted here is not known: runs gave no result"),
        ([], False, ""),
    ],
)  # fmt: skip
def test_trust_in_words(checks: list[CheckOutcome], failed: bool, words: str) -> None:
    assert trust_in_words({check.name: check for check in checks}, failed=failed) == words
