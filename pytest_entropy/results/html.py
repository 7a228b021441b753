"""``report.html``: one self-contained file per experiment, made from its directory alone."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pytest_entropy.config.layers import PROVENANCE
from pytest_entropy.results.figures import plots
from pytest_entropy.results.tables import by_batch_size
from pytest_entropy.results.view import ExperimentView
from pytest_entropy.stats import format_measure


def render(view: ExperimentView) -> str:
    """The report; everything that came from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("pytest_entropy.results"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    checkpoint = view.manifest["checkpoint"]
    return environment.get_template("report.html").render(
        view=view,
        tone=tone(view),
        checkpoint="bundled demo checkpoint" if checkpoint == "demo" else f"checkpoint {checkpoint}",
        table=by_batch_size(view),
        plots=list(plots(view)),
        runs=[_run(run) for run in view.runs],
        settings=_settings(view.config),
        environment=view.manifest.get("environment", {}),
    )


def tone(view: ExperimentView) -> str:
    """The colour of the verdict: fail, inconclusive or pass."""
    if view.failures or view.red or view.missing:
        return "fail"
    undecided = any(check["verdict"] == "inconclusive" for check in view.checks.values())
    return "inconclusive" if undecided else "pass"


def _run(run: dict[str, Any]) -> dict[str, Any]:
    return {
        **run,
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
