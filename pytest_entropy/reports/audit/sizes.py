"""The table of mean delta_h1 by B_E, as terminal, Markdown and HTML print it, against means in plain arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_entropy.records.paths import RESULTS
from pytest_entropy.reports.audit.arithmetic import mean, noise_over_signal
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.printed import MEASURE, NUMBER
from pytest_entropy.reports.audit.stored_run import PooledRuns, StoredRun, pooled

GIVES = f"its runs' {RESULTS} give"
NOT_KNOWN = "not determined"
TERMINAL_ROW = re.compile(
    rf"\s*(?P<B_E>\d+)\s+(?P<runs>\d+)\s\s(?P<measure>{MEASURE})\s+"
    rf"(?:(?P<over_u>± (?:{NUMBER})|{NOT_KNOWN}|-)\s+(?=\S+ \w+ |-))?(?P<noise>(?:{NUMBER}) \w+|-)\s+"
    rf"(?P<seconds>{NUMBER})\s*"
)


@dataclass(frozen=True)
class SizeCells:
    """The printed cells of one B_E; ``over_u`` is None in a table without that column."""

    B_E: str
    runs: str
    measure: str
    over_u: str | None
    noise: str
    seconds: str

    @classmethod
    def of(cls, cells: Sequence[str]) -> SizeCells:
        """The cells of a row of five or six columns.

        Raises:
            ValueError: the row has another number of columns.
        """
        if len(cells) not in (5, 6):
            raise ValueError(f"a row of the table by B_E has 5 or 6 cells, this one {len(cells)}")
        B_E, runs, measure, *second, noise, seconds = (cell.strip() for cell in cells)
        return cls(B_E, runs, measure, second[0] if second else None, noise, seconds)


def by_size(runs: Iterable[StoredRun]) -> dict[int, list[StoredRun]]:
    """The runs of each B_E, in increasing order."""
    found: dict[int, list[StoredRun]] = {}
    for run in sorted(runs, key=lambda run: run.order):
        found.setdefault(run.B_E, []).append(run)
    return found


def size_rows(ledger: Ledger, file: str, rows: Sequence[SizeCells], runs: Mapping[str, StoredRun]) -> None:
    """Compare the rows of a table by B_E with the runs.

    Args:
        ledger: where discrepancies are noted.
        file: the file that has the table.
        rows: the printed rows.
        runs: stored runs by directory.
    """
    sizes = by_size(runs.values())
    ledger.text(file, "the list of B_E", [row.B_E for row in rows], [str(B_E) for B_E in sizes], says=GIVES)
    for row in rows:
        of_size = sizes.get(int(row.B_E))
        if of_size:
            _size_row(ledger, file, row, of_size, pooled(of_size, runs.values()))


def _size_row(ledger: Ledger, file: str, row: SizeCells, runs: Sequence[StoredRun], whole: PooledRuns) -> None:
    where = f"of B_E {row.B_E}"
    ledger.text(file, f"the number of runs {where}", row.runs, str(len(runs)), says="stored are")
    ledger.measure(file, f"mean delta_h1 {where}", row.measure, whole.value, whole.se, says=GIVES)
    if row.over_u is not None and not runs[0].is_single_batch:
        shown = row.over_u.removeprefix("± ") if row.over_u != NOT_KNOWN else "-"
        total = whole.total_near(float(shown) if shown != "-" else None)
        ledger.printed(file, f"the error over update batches {where}", shown, total, says=GIVES)
    one = None if whole.se is None else whole.se * len(runs) ** 0.5
    ratio, word = noise_over_signal(whole.value, one)
    shown, _, label = row.noise.partition(" ")
    ledger.printed(file, f"|SE/delta_h1| {where}", shown, ratio, says=GIVES)
    if ratio is not None:
        ledger.text(file, f"the word for |SE/delta_h1| = {ratio:.4g} {where}", label, word, says="it is")
    seconds = mean([run.seconds for run in runs])
    ledger.printed(file, f"seconds of a run {where}", row.seconds, seconds, says=GIVES)


def terminal_table(ledger: Ledger, lines: Sequence[str], runs: Mapping[str, StoredRun]) -> None:
    """Compare the terminal's table by B_E with the runs.

    Args:
        ledger: where discrepancies are noted.
        lines: of the table, with its head and its legend.
        runs: stored runs by directory.
    """
    found = [TERMINAL_ROW.fullmatch(line) for line in lines[1:]]
    rows = [SizeCells(**match.groupdict()) for match in found if match is not None]
    size_rows(ledger, "the terminal's table", rows, runs)


def markdown_table(ledger: Ledger, file: str, text: str, runs: Mapping[str, StoredRun]) -> None:
    """Compare the table by B_E in a Markdown summary of one experiment with the runs.

    Args:
        ledger: where discrepancies are noted.
        file: the summary's file.
        text: its content.
        runs: stored runs by directory.
    """
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if re.match(r"\| *\d+ *\|", line)]
    size_rows(ledger, file, [SizeCells.of(cells) for cells in lines], runs)
