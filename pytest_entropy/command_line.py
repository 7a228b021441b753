"""The commands of ``python -m pytest_entropy``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_entropy.kinds import KNOWN
from pytest_entropy.results.naming import experiments_in


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code (2 for bad usage, as argparse has it)."""
    parser = argparse.ArgumentParser(prog="python -m pytest_entropy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    where = commands.add_parser("where", help="paths of the newest results and their reports")
    where.add_argument("results", type=Path, nargs="?", default=Path("results"))
    where.set_defaults(run=_where)
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _where(options: argparse.Namespace) -> int:
    """The newest directory of each experiment, with its report."""
    found = False
    for category in sorted(options.results.iterdir()) if options.results.is_dir() else []:
        if category.is_dir() and not category.name.startswith("."):
            for directory, _ in list(experiments_in(category))[-1:]:
                found = True
                report = directory / "report.html"
                print(f"{category.name}: {report if report.is_file() else directory}")
    if not found:
        print(f"no results in {options.results}; known experiments: {', '.join(KNOWN)}")
    return 0 if found else 1
