"""The terminal output of a session: a line per plan, and per experiment a table, the verdict and the path."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.answer import answers
from pytest_entropy.reports.attempts import computed_again, executed_again
from pytest_entropy.reports.glossary import of_effect
from pytest_entropy.reports.header import base_lines, resume_lines
from pytest_entropy.reports.reach import left_open
from pytest_entropy.reports.tables import SizeTable, size_table
from pytest_entropy.reports.undecided import undecided_in_words
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import Measurement

WIDTH = 80
ANSWER = "the answer"


def header_lines(plans: Sequence[Any], more: Sequence[str] = ()) -> list[str]:
    """The header's lines of the session's plans, wrapped; what is the same for all of them is said once.

    Args:
        plans: of the experiments.
        more: further lines, of the session.
    """
    of_plan = [[*step_lines(plan), *base_lines(plan), *plan.notes] for plan in plans]
    shared = [line for line in of_plan[0] if all(line in lines for lines in of_plan)]
    lines = []
    for plan, own in zip(plans, of_plan, strict=True):
        lines += [plan_line(plan), *(line for line in own if line not in shared), *resume_lines(plan)]
    return [part for line in [*lines, *shared, *more] for part in wrapped_at(line)]


def wrapped_at(line: str) -> list[str]:
    """A line of the header as lines of at most 80 characters."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False)


def plan_line(plan: Any) -> str:
    """The header's line of a plan: experiment, checkpoint, batch sizes, objective, prompts and depth."""
    config = plan.resolved.config
    batch = config.batch_config
    which = "bundled demo checkpoint" if config.checkpoint == "demo" else f"checkpoint {config.checkpoint}"
    prompts = "bundled word problems" if config.prompts.source == "demo" else config.prompts.source
    sizes = ",".join(map(str, batch.B_E_values))
    entropy_group = f" (E: {batch.G_E})" if batch.G_E else ""
    updates = f" x {batch.updates} update batches" if batch.updates > 1 else ""
    runs = f"{batch.runs_per_batch * batch.updates} runs"
    if batch.target_se is not None:
        runs = f"at most {runs}, until the error is {batch.target_se}"
    update = f"B_U {batch.B_U}{updates}" if config.probe.mode == "two_batch" else "U-statistic of each batch"
    return (
        f"entropy: {plan.kind.name}: {which} ({plan.files.layout}, {plan.checkpoint_digest[:8]}), "
        f"B_E {sizes} x {runs}, {update}, G {batch.G}{entropy_group}, "
        f"{config.probe.estimator}, {config.probe.update_rule}, {config.probe.loss_type}, "
        f"T = {config.sampling.temperature:g}, {prompts}"
        + (f", {plan.depth}" if plan.depth else "")
        + (", resumed" if plan.resumed else "")
    )


def step_lines(plan: Any) -> list[str]:
    """The header's further lines of a plan: the probed step, the source of each of its values, and unused settings."""
    step = plan.next_step
    shown = ("learning_rate", "advantage", "scale_rewards", "temperature", "top_k", "top_p")
    parts = [_sourced(name, step[name]) for name in shown if step[name]["value"] is not None or name == shown[0]]
    lines = [f"  step: {'; '.join(parts)}", f"  optimizer states: {step['optimizer_states']['value']}"]
    if plan.superseded:
        lines.append(f"  not resumed: {plan.superseded}; everything is computed again")
    ignored = step["ignored_sampling"]["value"]
    if ignored:
        listed = ", ".join(f"{name} {value}" for name, value in ignored.items())
        lines.append(f"  not used: {listed} (generation_config.json)")
    return lines


def _sourced(name: str, part: Mapping[str, Any]) -> str:
    value = part["value"]
    text = f"{value:g}" if isinstance(value, int | float) else str(value or "not stored")
    return f"{name} {text} ({part['source']})"


def live_line(report: ItemReport) -> str:
    """The measurement of a finished run and its time, in a line."""
    where = "from the store" if report.stored or report.seconds is None else f"{report.seconds:.2f} s"
    again = f", {report.attempts} attempts" if report.attempts else ""
    return f"δH₁ = {Measurement.of(report).in_words(note=False)}, {where}{again}"


def table_lines(table: SizeTable) -> list[str]:
    """The lines of a table: per B_E mean delta_h1, its standard errors, noise and seconds per run; then the legend.

    The error over update batches has a column where it was computed.
    """
    measure, noise, more = (29, 11, f" {'± over U':>14}") if table.both else (34, 14, "")
    head = f"mean δH₁ ± SE ({table.unit.replace(' per ', '/')})"
    lines = [f"  {'B_E':>5} {'runs':>4}  {head:<{measure}}{more} {'|SE/δH₁|':>{noise}} {'s/run':>7}"]
    for size, runs, shown, *second, words, seconds in table.cells:
        over_u = "".join(f" {text:>14}" for text in second)
        lines.append(f"  {size:>5} {runs:>4}  {shown:<{measure}}{over_u} {words:>{noise}} {seconds:>7}")
    return [*lines, *_wrapped(table.errors)]


def verdicts(reports: Sequence[ItemReport], view: ExperimentView | None = None) -> list[str]:
    """The verdicts of the items, in words: conclusions, and checks without a decision with what deciding would take.

    Args:
        reports: of one experiment's items.
        view: the stored experiment; None where it cannot be read.
    """
    lines = [view.trust] if view is not None and view.trust else []
    for report in reports:
        undecided = report.verdict == "inconclusive"
        if report.verdict and not undecided:
            lines.append(f"{report.verdict}: {report.reason}")
        if report.inconclusive or undecided:
            reason = report.reason if undecided else ""
            remedy = "" if view is None else view.remedy(report.inconclusive.partition(":")[0])
            lines.append(f"INCONCLUSIVE {report.name}: {reason or undecided_in_words(report.inconclusive, remedy)}")
    return lines


def failures(reports: Sequence[ItemReport]) -> list[str]:
    """Names of the items that failed."""
    return [report.name for report in reports if report.outcome == "failed"]


def write_terminal(
    reporter: Any,
    experiments: Mapping[str, Sequence[ItemReport]],
    views: Sequence[ExperimentView] = (),
    notes: Sequence[str] = (),
    trouble: Sequence[str] = (),
    *,
    quiet: bool,
) -> None:
    """Write the summary section of the terminal.

    Args:
        reporter: pytest's terminal reporter.
        experiments: item reports by experiment.
        views: the stored experiments, from which the tables are made.
        notes: messages about what session end did.
        trouble: messages about what it could not do.
        quiet: write the verdicts, paths and ``trouble`` only.
    """
    reporter.section("entropy", sep="=")
    stored = {view.directory: view for view in views}
    # Each is a pass over all runs of its experiment.
    tables = {} if quiet else {view.directory: size_table(view) for view in views if view.runs}
    for name, reports in experiments.items():
        directory = Path(next((report.directory for report in reports if report.directory), "?"))
        shown = table_lines(tables[directory]) if directory in tables else []
        _write_experiment(reporter, name, reports, stored.get(directory), directory, shown, quiet=quiet)
    for part in [part for answer in answers(views) for part in _wrapped(f"{ANSWER}: {answer.in_words()}", indent="")]:
        reporter.write_line(part, bold=True)
    for line in glossary([(stored[directory], table) for directory, table in tables.items()]):
        reporter.write_line(line)
    for note in () if quiet else notes:
        reporter.write_line(note)
    for line in trouble:
        reporter.write_line(line, red=True)


def _write_experiment(
    reporter: Any,
    name: str,
    reports: Sequence[ItemReport],
    view: ExperimentView | None,
    directory: Path,
    table: Sequence[str],
    *,
    quiet: bool,
) -> None:
    """Write an experiment's table, verdicts, failures and the path of its results."""

    def write(line: str, **colours: bool) -> None:
        for part in _wrapped(f"{name}: {line}", indent="") if quiet else _wrapped(line):
            reporter.write_line(part, **colours)

    failed = failures(reports)
    if not quiet:
        reporter.write_line(name, bold=True)
        for line in table:
            reporter.write_line(line)
    for line in verdicts(reports, view):
        yellow = line.startswith("INCONCLUSIVE")
        write(line, yellow=yellow, red=bool(failed) and not yellow)
    if view is not None and view.target is not None:
        write(view.target.in_words(), yellow=not view.target.reached)
    for line in filter(None, (executed_again(reports), computed_again({} if view is None else view.attempts))):
        write(line, yellow=True)
    if view is not None and not quiet and (said := left_open(view)):
        write(said, yellow=True)
    if failed:
        write(f"failed: {', '.join(failed)}", red=True)
    reporter.write_line(f"  results: {directory}" if not quiet else f"{name}: {directory}")


def glossary(tables: Sequence[tuple[ExperimentView, SizeTable]]) -> list[str]:
    """What the quantities of experiments' tables are, each in a sentence, wrapped."""
    shown = (of_effect(view, both=table.both) for view, table in tables)
    sentences = dict.fromkeys(sentence for some in shown for sentence in some)
    return [part for sentence in sentences for part in _wrapped(sentence, indent="")]


def _wrapped(line: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
