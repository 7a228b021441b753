"""What a session says on the terminal: a line per plan, a table per experiment, verdict and path."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pytest_entropy.stats import Measurement, format_measure, pool, signal_to_noise
from pytest_entropy.stats.measurement import NOT_DETERMINED, OVER_UPDATES

Record = Mapping[str, Any]
WIDTH = 80
MORE = "to decide: more --runs, larger B_E, or a larger --entropy-alpha"


def plan_line(plan: Any) -> str:
    """One line of the header: what is about to be measured, on what."""
    config = plan.resolved.config
    batch = config.batch_config
    which = "bundled demo checkpoint" if config.checkpoint == "demo" else f"checkpoint {config.checkpoint}"
    prompts = "bundled word problems" if config.prompts.source == "demo" else config.prompts.source
    sizes = ",".join(map(str, batch.B_E_values))
    own = f" (E: {batch.G_E})" if batch.G_E else ""
    update = f"B_U {batch.B_U}" if config.probe.mode == "two_batch" else "U-statistic of each batch"
    return (
        f"entropy: {plan.kind.name}: {which} ({plan.files.layout}, {plan.checkpoint_digest[:8]}), "
        f"B_E {sizes} x {batch.runs_per_batch} runs, {update}, G {batch.G}{own}, {config.probe.estimator}, "
        f"{config.probe.update_rule}, {config.probe.loss_type}, T = {config.sampling.temperature:g}, {prompts}"
        + (", resumed" if plan.resumed else "")
    )


def step_lines(plan: Any) -> list[str]:
    """The header's further lines: the step that is probed, where each part of it is from, and what is not used."""
    step = plan.next_step
    shown = ("learning_rate", "advantage", "scale_rewards", "temperature", "top_k", "top_p")
    parts = [_sourced(name, step[name]) for name in shown if step[name]["value"] is not None or name == shown[0]]
    lines = [f"  step: {'; '.join(parts)}", f"  optimizer states: {step['optimizer_states']['value']}"]
    ignored = step["ignored_sampling"]["value"]
    if ignored:
        listed = ", ".join(f"{name} {value}" for name, value in ignored.items())
        lines.append(f"  not used: {listed} (generation_config.json)")
    return lines


def _sourced(name: str, part: Mapping[str, Any]) -> str:
    value = part["value"]
    text = f"{value:g}" if isinstance(value, int | float) else str(value or "not stored")
    return f"{name} {text} ({part['source']})"


def live_line(properties: Mapping[str, Any]) -> str:
    """A finished run in a few words."""
    where = "from the store" if properties.get("stored") else f"{float(properties['seconds']):.2f} s"
    return f"δH₁ = {Measurement.of(properties).in_words(note=False)}, {where}"


def by_batch_size(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Finished runs of an experiment by B_E, in increasing order; each run once."""
    runs = {(r["B_E"], r["run"]): r for r in records if r.get("delta_h1") is not None}
    sizes = sorted({b for b, _ in runs})
    return {size: [runs[key] for key in sorted(runs) if key[0] == size] for size in sizes}


def table(records: Sequence[Record]) -> list[str]:
    """A row per B_E: mean delta_h1, its standard errors, signal/noise, seconds a run; below it what the errors are of.

    The error over update batches has a column where it was computed.
    """
    unit = next((str(r["unit"]) for r in records if r.get("unit")), "nats per response").replace(" per ", "/")
    rows = {size: (runs, pool([Measurement.of(r) for r in runs])) for size, runs in by_batch_size(records).items()}
    means = [mean for _, mean in rows.values()]
    both = any(mean.second_error for mean in means)
    measure, noise, more = (29, 11, f" {'± over U':>14}") if both else (34, 14, "")
    head = f"mean δH₁ ± SE ({unit})"
    lines = [f"  {'B_E':>5} {'runs':>4}  {head:<{measure}}{more} {'|SE/δH₁|':>{noise}} {'s/run':>7}"]
    for size, (runs, mean) in rows.items():
        # The label is that of a single run: what one measurement at this size is worth.
        ratio, label = signal_to_noise(mean.value, None if mean.se is None else mean.se * len(runs) ** 0.5)
        words = "-" if ratio is None else f"{ratio:.2f} {label}"
        seconds = fmean(float(r["seconds"]) for r in runs)
        second = f" {mean.second_error or '-':>14}" if both else ""
        shown = format_measure(mean.value, mean.se)
        lines.append(f"  {size:>5} {len(runs):>4}  {shown:<{measure}}{second} {words:>{noise}} {seconds:>7.2f}")
    return [*lines, *_wrapped(legend(means))]


def legend(means: Sequence[Measurement]) -> str:
    """What the errors of a table are over, and why one is not determined; empty for an empty table.

    >>> legend([Measurement(-0.02, 0.001, 64)])
    '± SE: for this update batch U'
    """
    if not means:
        return ""
    parts = [f"± SE: {means[0].scope}{'' if means[0].single_batch else ' U'}"]
    if any(mean.second_error for mean in means):
        parts.append(f"± over U: {OVER_UPDATES}")
    notes = dict.fromkeys(mean.note for mean in means if mean.second_error == NOT_DETERMINED)
    return "; ".join([*parts, *(f"{NOT_DETERMINED}: {note}" for note in notes)])


def verdicts(records: Sequence[Record]) -> list[str]:
    """What the analyses concluded, in words; what could not be decided in capitals, with what it would take."""
    lines = []
    for record in records:
        undecided = record.get("entropy_inconclusive")
        verdict = record.get("entropy_verdict")
        if verdict is not None and verdict != "inconclusive":
            lines.append(f"{verdict}: {record.get('entropy_reason', '')}")
        if undecided is not None or verdict == "inconclusive":
            reason = str(record.get("entropy_reason", "")) if verdict == "inconclusive" else ""
            name = str(record["nodeid"]).rpartition("::")[2]
            lines.append(f"INCONCLUSIVE {name}: {reason or undecided_in_words(str(undecided))}")
    return lines


def undecided_in_words(message: str) -> str:
    """The message of a check that could not decide, on one line: what was expected, and what it would take."""
    parts = [line.strip() for line in message.splitlines()[1:]]
    parts = [part.removeprefix("expected: ") for part in parts if not part.startswith(("seen:", "p ="))]
    # A cause helps where something has to be changed; where only numbers are lacking it would mislead.
    if any(part.startswith("this sample can see") for part in parts):
        parts = [part for part in parts if not part.startswith("points to:")]
    if not any(part.startswith(("to decide:", "points to:", "because:")) for part in parts):
        parts.append(MORE)
    return "; ".join(parts)


def failures(records: Sequence[Record]) -> list[str]:
    """Items that failed, by name."""
    return [str(r["nodeid"]).rpartition("::")[2] for r in records if r["outcome"] == "failed"]


def write_terminal(
    reporter: Any,
    experiments: Mapping[str, Sequence[Record]],
    notes: Sequence[str] = (),
    trouble: Sequence[str] = (),
    *,
    quiet: bool,
) -> None:
    """The summary section; with ``quiet`` the verdicts, paths and ``trouble`` only."""
    reporter.section("entropy", sep="=")
    for name, records in experiments.items():
        directory = next((r["entropy_directory"] for r in records if "entropy_directory" in r), "?")
        failed = failures(records)
        if not quiet:
            reporter.write_line(name, bold=True)
            for line in table(records) if by_batch_size(records) else ():
                reporter.write_line(line)
        for line in verdicts(records):
            yellow = line.startswith("INCONCLUSIVE")
            for part in [f"{name}: {line}"] if quiet else _wrapped(line):
                reporter.write_line(part, yellow=yellow, red=bool(failed) and not yellow)
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
