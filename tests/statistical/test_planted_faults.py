"""Planted faults whose list was written before the checks that are to see them: what each moves, and what sees it.

``python -m tests.statistical.planted`` prints the same as a table; ``planted/first_look.md`` is that of the day the
list was written.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.statistical.planted import KINDS, PLANTED
from tests.statistical.planted.workbench import LEAST_EFFECT, asked_checks, judge, row


def test_every_kind_has_faults_and_every_fault_a_cause() -> None:
    per_kind = Counter(fault.kind for fault in PLANTED.values())
    assert set(per_kind) == set(KINDS)
    assert min(per_kind.values()) >= 5
    assert all(fault.runs <= 15 for fault in PLANTED.values())
    assert all(fault.causes and all(cause == cause.lower() for cause in fault.causes) for fault in PLANTED.values())


def test_the_sanity_check_is_asked_for_its_checks() -> None:
    assert {"definition", "update_gradient", "se_calibration"} <= set(asked_checks())


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_takes_effect(name: str) -> None:
    judged = judge(PLANTED[name])
    print(f"\n{row(PLANTED[name], judged)}")
    # Whether it is caught is printed, not asserted: that is what the list is for.
    assert judged.effect > LEAST_EFFECT
