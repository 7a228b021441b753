"""Measures the table "Coverage of the intervals" of docs/statistics.md.

    python -m benchmarks.measure_coverage --sessions 4000

Prints a Markdown table; rates come with 95 % Clopper-Pearson intervals.  The table in docs/statistics.md took ten
minutes of one shared core; the default number of sessions takes half of that.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from tests.statistical import coverage
from tests.statistical.coverage import Coverage
from tests.statistical.rates import table


def measured(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """All rows; those that resample or shuffle in every session have fewer sessions."""
    yield from coverage.lone_run(sessions, rng)
    yield from coverage.run_among_others(sessions, rng)
    yield from coverage.mean_over_runs(sessions, rng)
    yield from (row for row, _ in coverage.until_target(sessions, rng))
    yield from coverage.scaling_fit(sessions // 2, 0, rng)
    yield from coverage.scaling_fit(sessions // 8, 400, rng)
    yield from coverage.over_updates(sessions, rng)
    yield from coverage.enumerable_sessions(sessions, rng)
    yield from coverage.eta_sweep(sessions, rng)
    yield from coverage.checks(sessions, rng)
    yield from coverage.shuffled(sessions // 8, rng)


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(None if arguments is None else list(arguments))
    began = time.perf_counter()
    rows = []
    for row in measured(given.sessions, np.random.default_rng(given.seed)):
        low, high = row.seen.interval()
        seen = f"{row.seen.value:.3f} [{low:.3f}, {high:.3f}]"
        rows.append([row.quantity, row.population, row.design, row.promise, str(row.seen.trials), seen])
        print(".", end="", flush=True, file=sys.stderr)
    print(table(["interval of", "population", "design", "promised", "sessions", "coverage"], rows))
    print(f"\n({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
