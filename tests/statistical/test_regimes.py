"""A correct probe is not red, in every regime that users have: whole sessions at the default budget.

Fewer sessions than docs/statistics.md tabulates, so that all regimes take about a minute; a rate counts as broken when
its Clopper-Pearson interval at 1e-7 lies above the budget.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.statistical import regimes
from tests.statistical.rates import Rate, assert_at_most

pytestmark = pytest.mark.slow
SESSIONS = 25


def test_a_correct_probe_is_not_red_in_any_regime() -> None:
    seed = np.random.SeedSequence().entropy
    print(f"\nseed {seed}")
    rng = np.random.default_rng(seed)
    red = trials = 0
    for regime in regimes.regimes():
        seen, names = regimes.red_sessions(regime, SESSIONS, rng)
        print(f"{regime.name}: {seen} {', '.join(sorted(names))}")
        assert_at_most(seen, regimes.BUDGET, regime.name)
        red, trials = red + seen.count, trials + seen.trials
    assert_at_most(Rate(red, trials), regimes.BUDGET, "all regimes together")


@pytest.mark.parametrize("size", [4, 8, 16])
def test_a_small_single_batch_has_no_interval(size: int) -> None:
    printed, _, _ = regimes.coverage("t(5)", 0.5, size, 100, np.random.default_rng(0))
    assert printed.trials == 0


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("mean", [0.0, 0.5, 3.0])
def test_the_interval_of_a_single_batch_holds_the_truth(size: int, mean: float) -> None:
    """At 0.95 by design; 0.93 is promised, since products of heavy tails are skewed."""
    rng = np.random.default_rng(np.random.SeedSequence().entropy)
    printed, _, _ = regimes.coverage("t(5)", mean, size, 1000, rng)
    assert printed.trials == 1000, "every batch of 32 has an interval"
    missed = Rate(printed.trials - printed.count, printed.trials)
    assert_at_most(missed, 0.07, f"intervals of B = {size} at {mean} that miss")
