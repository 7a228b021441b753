"""``report.html``: one self-contained file per experiment, made from its directory alone."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pytest_entropy.records.update import equal_rewards
from pytest_entropy.reports.comparison_figure import comparison_plot
from pytest_entropy.reports.cost_figure import cost
from pytest_entropy.reports.figures import plots
from pytest_entropy.reports.tables import by_batch_size, errors_in_words
from pytest_entropy.reports.view import UPDATE, ExperimentView
from pytest_entropy.settings.layers import PROVENANCE
from pytest_entropy.stats import Measurement, format_measure

# What decides which quantity was measured; the rest of the configuration folds away.
ESSENTIAL = (
    "checkpoint",
    "seed",
    "batch_config.",
    "probe.",
    "sampling.",
    "prompts.source",
    "prompts.chat_",
    "reward",
    "model.",
)
# Files of the whole experiment the report links to; those it is written together with are always there.
ARTEFACTS = ("update/config.yaml", "update/probe_log.txt", "update/update.json", "comparison.json")
# Rows of the table of runs; a page with thousands of them serves nobody.
MOST_ROWS = 500


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pytest_entropy.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["figure"] = lambda value: "-" if value is None else f"{value:.3g}"
    environment.filters["plain"] = plain
    environment.filters["words"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return environment


def plain(value: Any) -> str:
    """A setting or a measured value as people write it.

    >>> plain(None), plain(0.011866454319713904), plain([{"name": "exact_answer", "weight": 1.0}]), plain([8, 32])
    ('-', '0.01187', 'name exact_answer, weight 1', '8, 32')
    """
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(item, dict) for item in value) else ", ").join(map(plain, value))
    return str(value)


def page(template: str, **values: Any) -> str:
    """A page from a template; everything that came from outside is escaped."""
    return _environment().get_template(template).render(**values) + "\n"


def render(view: ExperimentView) -> str:
    """The report of an experiment."""
    checkpoint = view.manifest["checkpoint"]
    settings = _settings(view.config)
    runs = [_run(run) for run in view.runs[:MOST_ROWS]]
    return page(
        "report.html",
        view=view,
        checkpoint="bundled demo checkpoint" if checkpoint == "demo" else f"checkpoint {checkpoint}",
        equal=equal_rewards(view.still["rewards"]) if view.still else None,
        table=by_batch_size(view),
        errors=errors_in_words(view),
        both=any(run["second"] for run in runs),
        plots=[*plots(view), *([cost(view)] if view.runs else [])],
        difference=comparison_plot(view.comparison.get("quantities", [])),
        artefacts=[name for name in ARTEFACTS + (view.analysis_file,) if (view.directory / name).exists()],
        runs=runs,
        failed={name: (text, _files(view, name)) for name, text in _first_to_last(view.failures)[:MOST_ROWS]},
        left_out=max(0, len(view.runs) - MOST_ROWS),
        comparison=view.comparison,
        settings=settings,
        essentials=[entry for entry in settings if entry[0].startswith(ESSENTIAL)],
        environment=view.manifest.get("environment", {}),
    )


def _first_to_last(failures: dict[str, str]) -> list[tuple[str, str]]:
    """The update batch first: where it failed, so did all runs, for that reason."""
    return sorted(failures.items(), key=lambda entry: (entry[0] != UPDATE, entry[0]))


def _files(view: ExperimentView, run: str) -> list[str]:
    return [name for name in ("error.txt", "config.yaml", "probe_log.txt") if (view.directory / run / name).is_file()]


def _run(run: dict[str, Any]) -> dict[str, Any]:
    measured = Measurement.of(run)
    why = f": {measured.note}" if measured.second_error and measured.se_total is None else ""
    return {
        **run,
        "second": measured.second_error + why,
        "measure": format_measure(run["delta_h1"], run["se_conditional"]),
        "entropy": format_measure(run["entropy_mean"], run["entropy_se"]),
        "total": sum(run["seconds"].values()),
    }


def _settings(config: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """(dotted key, value, source) of the configuration."""
    sources: dict[str, str] = config.get(PROVENANCE, {})
    out = []
    for key, source in sources.items():
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        out.append((key, value, source))
    return out
