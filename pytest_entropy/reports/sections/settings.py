"""The section with the settings that define the measured quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.settings.layers import PROVENANCE

# Prefixes of their keys; the rest of the configuration is in a folded section.
ESSENTIAL = (
    "checkpoint", "seed", "batch_config.", "probe.", "sampling.", "prompts.source", "prompts.chat_", "reward", "model.",
)  # fmt: skip
# Shown where runs have diagnostics: which of them do.
DEPTH = ("checks.depth", "diagnostics")


@dataclass(frozen=True)
class Setting:
    """One value of the configuration with its dotted key and its source."""

    key: str
    value: object
    source: str


class Settings(Section):
    """The essential settings, each with its source."""

    title, order = "What was measured", 1000

    def html(self, view: ExperimentView) -> Markup | None:
        """The essential settings; None if no configuration was stored."""
        every = settings_of(view)
        shown = (*ESSENTIAL, *DEPTH) if view.config.get("diagnostics") else ESSENTIAL
        return fragment("settings", settings=[s for s in every if s.key.startswith(shown)]) if every else None


def settings_of(view: ExperimentView) -> list[Setting]:
    """All settings of the experiment's runs."""
    out = []
    for key, source in view.config.get(PROVENANCE, {}).items():
        value: Any = view.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        out.append(Setting(key, value, source))
    return out


SECTION = Settings()
