"""All registered checks, and how a test judges runs by one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_entropy import registry
from pytest_entropy.checks.base import Check
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome

# Of few prompts; the runs are always the same.
ALPHA = 0.05
CHECKS = {name: registry.get(kind, name, Check) for kind in ("checks", "bookkeeping") for name in registry.names(kind)}


def judged(check: Check | str, runs: Sequence[RunRecord], *, alpha: float = ALPHA) -> CheckOutcome:
    """The outcome of a check, with the same random numbers every time."""
    found = CHECKS[check] if isinstance(check, str) else check
    return found.check(runs, alpha=alpha, rng=np.random.default_rng(0))
