"""One tidy row per run (CSV), the session's summary in Markdown, and the summary as a record."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from pytest_entropy.reports.terminal import legend
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import Measurement, format_measure, pool, signal_to_noise

SCHEMA_VERSION = 1
COLUMNS = (
    "experiment", "directory", "B_E", "run", "delta_h1", "se_conditional", "signal_to_noise", "entropy_mean",
    "entropy_se", "length_mean", "eta", "estimator", "update_rule", "seconds", "peak_memory_mb", "seed",
    "se_total", "mode", "notes",
)  # fmt: skip


def rows(view: ExperimentView) -> list[dict[str, Any]]:
    """One plain row per finished run."""
    out = []
    for run in view.runs:
        ratio, _ = signal_to_noise(run["delta_h1"], run["se_conditional"])
        row = {
            # Results from before there were these have an error for their update batch only.
            "se_total": None,
            "mode": "two_batch",
            **run,
            "experiment": view.name,
            "signal_to_noise": ratio,
            "seconds": sum(run["seconds"].values()),
            "notes": "; ".join(run.get("notes", ())),
        }
        out.append({column: row[column] for column in COLUMNS})
    return out


def to_csv(view: ExperimentView) -> str:
    """``results.csv``: numbers in full precision, empty where there is none."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(view))
    return stream.getvalue()


def to_record(view: ExperimentView) -> dict[str, Any]:
    """``summary.json``; its schema is shipped as ``results/schema/summary-1.json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": view.name,
        "stamp": view.manifest["stamp"],
        "checkpoint": view.manifest["checkpoint"],
        "checkpoint_digest": view.manifest["checkpoint_digest"],
        "config_digest": view.manifest["config_digest"],
        "tone": view.tone,
        "headline": view.headline,
        "verdict": (view.conclusion or view.analysis).get("verdict"),
        "runs": rows(view),
        "failed_runs": view.failed_runs,
        "missing_runs": view.missing,
        "checks": list(view.checks.values()),
        "comparison": view.comparison or None,
        "environment": view.manifest.get("environment", {}),
        "plugin_analyses": view.plugin_analyses,
    }


def means_by_batch_size(view: ExperimentView) -> dict[int, tuple[list[dict[str, Any]], Measurement]]:
    """Runs and their mean with both its errors by B_E, in increasing order."""
    sizes = sorted({run["B_E"] for run in view.runs})
    grouped = {size: [run for run in view.runs if run["B_E"] == size] for size in sizes}
    return {size: (runs, pool([Measurement.of(run) for run in runs])) for size, runs in grouped.items()}


def by_batch_size(view: ExperimentView) -> list[dict[str, Any]]:
    """Mean, standard errors and label per B_E, as the terminal's table has them.

    ``second`` is the error over update batches in words, empty where it was not asked for.
    """
    table = []
    for size, (runs, mean) in means_by_batch_size(view).items():
        ratio, label = signal_to_noise(mean.value, None if mean.se is None else mean.se * len(runs) ** 0.5)
        seconds = sum(sum(run["seconds"].values()) for run in runs) / len(runs)
        table.append(
            {"B_E": size, "runs": len(runs), "measure": format_measure(mean.value, mean.se), "ratio": ratio,
             "label": label, "seconds": seconds, "second": mean.second_error}
        )  # fmt: skip
    return table


def errors_in_words(view: ExperimentView) -> str:
    """What the errors of :func:`by_batch_size` are over, and why one is not determined."""
    return legend([mean for _, mean in means_by_batch_size(view).values()])


def to_markdown(views: Sequence[ExperimentView]) -> str:
    """``summary.md``: verdict first, then a table per experiment."""
    lines = ["# Entropy probes", ""]
    for view in views:
        lines += [f"## {view.name}", "", f"**{_escape(view.headline)}**", ""]
        table = by_batch_size(view)
        if table:
            both = any(row["second"] for row in table)
            over_u = " ± over U |" if both else ""
            lines += [
                f"| B_E | runs | mean δH₁ ± SE ({view.unit}) |{over_u} SE/δH₁ of a run | s/run |",
                f"|--:|--:|---|{'---|' if both else ''}---|--:|",
            ]
            for row in table:
                ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f} {row['label']}"
                measure = f"{row['measure']} | {row['second'] or '-'}" if both else row["measure"]
                lines.append(f"| {row['B_E']} | {row['runs']} | {measure} | {ratio} | {row['seconds']:.2f} |")
            lines += ["", _escape(errors_in_words(view)), ""]
        for check in view.checks.values():
            p = "" if check["p_value"] is None else f", p = {check['p_value']:.3g} (α = {check['alpha']:.2g})"
            lines.append(f"- {check['name']}: {check['verdict']}{p}")
        lines += [f"- failed run: {name}" for name in sorted(view.failures)]
        # From results/ on: the same words from whatever directory they are written.
        lines += ["", f"Results: `{'/'.join(view.directory.absolute().parts[-3:])}`", ""]
    return "\n".join(lines)


def _escape(text: str) -> str:
    # "](" would make a link or a picture of what an error says.
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("](", "]\\(")
