"""The terminal output of a session: a line per plan, and per experiment a table, the verdict and the path."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.reach import left_open
from pytest_entropy.reports.tables import SizeTable, size_table
from pytest_entropy.reports.undecided import undecided_in_words
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import Measurement

WIDTH = 80


def plan_line(plan: Any) -> str:
    """The header's line of a plan: experiment, checkpoint, batch sizes, objective, prompts and depth."""
    config = plan.resolved.config
    batch = config.batch_config
    which = "bundled demo checkpoint" if config.checkpoint == "demo" else f"checkpoint {config.checkpoint}"
    prompts = "bundled word problems" if config.prompts.source == "demo" else config.prompts.source
    sizes = ",".join(map(str, batch.B_E_values))
    entropy_group = f" (E: {batch.G_E})" if batch.G_E else ""
    update = f"B_U {batch.B_U}" if config.probe.mode == "two_batch" else "U-statistic of each batch"
    return (
        f"entropy: {plan.kind.name}: {which} ({plan.files.layout}, {plan.checkpoint_digest[:8]}), "
        f"B_E {sizes} x {batch.runs_per_batch} runs, {update}, G {batch.G}{entropy_group}, {config.probe.estimator}, "
        f"{config.probe.update_rule}, {config.probe.loss_type}, T = {config.sampling.temperature:g}, {prompts}"
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
    return f"δH₁ = {Measurement.of(report).in_words(note=False)}, {where}"


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


def verdicts(reports: Sequence[ItemReport]) -> list[str]:
    """The verdicts of the items, in words: conclusions, and checks without a decision with what deciding would take."""
    lines = []
    for report in reports:
        undecided = report.verdict == "inconclusive"
        if report.verdict and not undecided:
            lines.append(f"{report.verdict}: {report.reason}")
        if report.inconclusive or undecided:
            reason = report.reason if undecided else ""
            lines.append(f"INCONCLUSIVE {report.name}: {reason or undecided_in_words(report.inconclusive)}")
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
    for name, reports in experiments.items():
        directory = next((report.directory for report in reports if report.directory), "?")
        view = stored.get(Path(directory))
        failed = failures(reports)
        if not quiet:
            reporter.write_line(name, bold=True)
            for line in table_lines(size_table(view)) if view and view.runs else ():
                reporter.write_line(line)
        for line in verdicts(reports):
            yellow = line.startswith("INCONCLUSIVE")
            for part in [f"{name}: {line}"] if quiet else _wrapped(line):
                reporter.write_line(part, yellow=yellow, red=bool(failed) and not yellow)
        if view is not None and not quiet:
            for part in _wrapped(left_open(view)):
                reporter.write_line(part, yellow=True)
        if failed:
            for part in [f"{name}: failed: {', '.join(failed)}"] if quiet else _wrapped(f"failed: {', '.join(failed)}"):
                reporter.write_line(part, red=True)
        reporter.write_line(f"  results: {directory}" if not quiet else f"{name}: {directory}")
    for note in () if quiet else notes:
        reporter.write_line(note)
    for line in trouble:
        reporter.write_line(line, red=True)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
