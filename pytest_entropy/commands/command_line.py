"""The commands of ``pytest-entropy``: where, list, report, compare, prune, migrate, and the old script's four."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.baselines.rules import DEFAULT
from pytest_entropy.commands import old_script
from pytest_entropy.commands.listing import experiments_at, listing_entry, results_root
from pytest_entropy.commands.migrate import migrate, moves
from pytest_entropy.errors import UsageError
from pytest_entropy.plugin.option_values import probability
from pytest_entropy.records.paths import REPORT
from pytest_entropy.records.results_directory import all_experiments
from pytest_entropy.reports.legacy import Legacy, legacy_at
from pytest_entropy.reports.staleness import is_stale
from pytest_entropy.runs.retention import candidates, prune
from pytest_entropy.settings.experiments import KNOWN

RESULTS = Path("results")
# The name of the installed command.
SCRIPT = "pytest-entropy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 1 for a negative finding, 2 for a usage error.

    The old script's commands have pytest's exit codes.

    Args:
        arguments: the command and its options; the process's by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # However it is called, help and errors name it so that it can be called again.
    prog = Path(sys.argv[0]).stem if Path(sys.argv[0]).stem == SCRIPT else "python -m pytest_entropy"
    if given and given[0] in old_script.COMMANDS:
        return old_script.main(given, prog)
    options = _parser(prog).parse_args(given)
    return _guarded(lambda: int(options.run(options)))


def _guarded(work: Callable[[], int]) -> int:
    """The exit code of ``work``; usage and system errors are printed and give 2."""
    try:
        return work()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run an experiment with the old script's flags, or work on the results of earlier sessions.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    old_script.add_commands(commands)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], help: str, many: bool = False
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.add_argument(
            "results", type=Path, nargs="*" if many else "?", default=[RESULTS] if many else RESULTS,
            help="results directory" + (", category, or experiment directory" if many else "") + " (default: results)",
        )  # fmt: skip
        command.set_defaults(run=run)
        return command

    add("where", _where, "paths of the newest results and their reports")
    add("list", _list, "stored experiments, a line each", many=True)
    report = add("report", _report, "make reports again from stored runs", many=True)
    report.add_argument("--all", action="store_true", help="also those that are up to date")
    _add_compare(commands)
    words = "remove all but the newest experiments of each kind (a dry run without --yes)"
    pruning = add("prune", _prune, words, many=True)
    pruning.add_argument("--keep", type=int, default=10, help="how many of each kind stay (default: 10)")
    pruning.add_argument("--yes", action="store_true", help="remove them")
    moving = add("migrate", _migrate, "move the old script's result directories into the categories", many=True)
    moving.add_argument("--dry-run", action="store_true", help="only say what would be moved")
    return parser


def _add_compare(commands: Any) -> None:
    words = "compare stored experiments by intervals on the differences, paired by seed (exit code 1: they differ)"
    command = commands.add_parser("compare", help=words, description=words)
    sides = "baseline file, experiment directory, or results directory (the newest of each kind)"
    command.add_argument("before", type=Path, help=sides)
    command.add_argument("after", type=Path, help=sides)
    rules = f"what a regression is, such as delta_h1:5%; see docs/ci.md (default: {DEFAULT})".replace("%", "%%")
    command.add_argument("--fail", action="append", metavar="EXPR", help=rules)
    command.add_argument("--alpha", type=probability, default=1e-3, help="false-alarm rate of all (default: 0.001)")
    command.add_argument("--anyway", action="store_true", help="compare another checkpoint, objective or schema, too")
    command.add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page, too")
    command.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from pytest_entropy.baselines.compare_directories import compare_places, in_words, to_page
    from pytest_entropy.records.files import write_text

    by_experiment = compare_places(
        options.before, options.after, options.fail or [], alpha=options.alpha, anyway=options.anyway
    )
    for name, comparison in by_experiment.items():
        print(f"{name}: {in_words(comparison)}")
    if options.html:
        write_text(options.html, to_page(by_experiment, str(options.before), str(options.after)))
    return int(any(comparison.overall == "fail" for comparison in by_experiment.values()))


def _where(options: argparse.Namespace) -> int:
    newest = {manifest.experiment: directory for directory, manifest in all_experiments(options.results)}
    for name, directory in sorted(newest.items()):
        report = directory / REPORT
        print(f"{name}: {report if report.is_file() else directory}")
    if not newest:
        print(f"no results in {options.results}; known experiments: {', '.join(KNOWN)}")
    return 0 if newest else 1


def _list(options: argparse.Namespace) -> int:
    for directory, manifest in experiments_at(options.results):
        line = listing_entry(directory, manifest)
        failed = f", {line.failed} failed" if line.failed else ""
        print(f"{directory}  {line.done}/{line.planned} runs{failed}  {line.headline}")
    for one in _legacy(options):
        print(f"{one.directory}  legacy  {one.kind}{one.date and f' of {one.date}'}, by run_entropy_test.py")
    return 0


def _legacy(options: argparse.Namespace) -> list[Legacy]:
    return [one for place in options.results for one in legacy_at(place)]


def _report(options: argparse.Namespace) -> int:
    # Drawing is slow to import.
    from pytest_entropy.commands.parallel import each
    from pytest_entropy.plugin.session_audit import write_audited
    from pytest_entropy.reports.audit.ledger import DIFFERS
    from pytest_entropy.reports.index import index_of, sessions, write_index
    from pytest_entropy.reports.results_index import write_results_index
    from pytest_entropy.reports.view import view_experiment

    made, unreadable, roots, wanted, differing = {}, set(), set(), [], 0
    for directory, manifest in experiments_at(options.results):
        roots.add(results_root(directory))
        if options.all or directory in options.results or is_stale(directory, manifest):
            wanted.append(directory)
    for directory, written in each(write_audited, wanted, expected=UsageError):
        if isinstance(written, UsageError):
            unreadable.add(directory.absolute())
            print(f"error: {written}", file=sys.stderr)
        else:
            made[directory.absolute()], found = written
            differing += len(found)
            for line in found:
                print(f"error: {DIFFERS}: {line}", file=sys.stderr)
            print(directory / REPORT)
    indexes = []
    for root in roots:
        for stamp, directories in sessions(root).items():
            # A killed session may have reports without an index.
            if made.keys() & set(directories) or not index_of(root, stamp).is_file():
                readable = [directory for directory in directories if directory not in unreadable]
                indexes.append(write_index(root, stamp, [made.get(d) or view_experiment(d) for d in readable]))
                print(indexes[-1])
        overview = write_results_index(root)
        if overview is not None:
            indexes.append(overview)
            print(overview)
    legacy = _legacy(options)
    for one in legacy:
        print(f"{one.directory}: legacy, results of run_entropy_test.py stay as they are and get no report")
    if not made and not unreadable and not indexes and not (legacy and not roots):
        print("all reports are up to date; --all makes them again")
    return 2 if unreadable else 1 if differing else 0


def _prune(options: argparse.Namespace) -> int:
    count = 0
    for results in options.results:
        for candidate in prune(results, options.keep) if options.yes else candidates(results, options.keep):
            count += not candidate.spared
            if candidate.spared:
                print(f"kept {candidate.directory}: {candidate.spared}")
            else:
                print(f"{'removed' if options.yes else 'would remove'} {candidate.directory}")
    if not count:
        print("nothing to remove")
    elif not options.yes:
        print(f"dry run: {count} to remove; --yes removes them")
    return 0


def _migrate(options: argparse.Namespace) -> int:
    for results in options.results:
        if not results.is_dir():
            raise UsageError(f"{results} is not a directory")
    plans = [moves(results) for results in options.results]
    for planned, unknown in plans:
        if not options.dry_run:
            migrate(planned)
        for source, target in planned:
            print(f"{'would move' if options.dry_run else 'moved'} {source} to {target}")
        for directory in unknown:
            print(f"left {directory}: not a result directory of the old script")
    if not any(planned for planned, _ in plans):
        print("nothing to move")
    return 0
