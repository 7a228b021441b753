"""With companion reads s~_n is s_n less its own read plus the mean of its companions' (docs/variance-reduction.md)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, reading, runs_that_read, size_of

OWN, MEAN = "companions.own", "companions.mean"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the largest relative discrepancy of each run's scalars from their recorded parts."""
    for run in runs_that_read(runs):
        parts = run.scalars("entropy_term"), run.scalars(OWN), run.scalars(MEAN)
        expected = parts[0] - parts[1] + parts[2]
        size = max(map(size_of, parts))
        yield "per_prompt", float(np.abs(run.scalars("per_prompt") - expected).max()) / size


CHECK = identity(
    "scalars_hold_reads",
    "s_n with companion reads is <X_n, u> less the prompt's own read plus the mean of its companions'",
    "a read added instead of subtracted, left out, or of another prompt, or scalars that were changed afterwards",
    ("entropy_term", "per_prompt", OWN, MEAN),
    discrepancies,
    reading,
)
