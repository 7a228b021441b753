"""The section with the settings: those that differ from the defaults in front, and all of them folded."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.settings.experiments import kind_of
from pytest_entropy.settings.layers import PROVENANCE, Layer, resolve_config

# The depth says nothing where no run has diagnostics.
DEPTH = "checks.depth"
# Shown above all sections.
AT_THE_TOP = "checkpoint"


@dataclass(frozen=True)
class Setting:
    """One value of the configuration with its dotted key, its default and its source."""

    key: str
    value: object
    default: object
    source: str


class Settings(Section):
    """The settings that differ from the defaults, and all others folded, each with its source."""

    title, order = "What was measured", 1000

    def heading(self, view: ExperimentView) -> str:
        """The title; of an experiment without a result, what would have been measured."""
        return self.title if view.runs else "What was to be measured"

    def html(self, view: ExperimentView) -> Markup | None:
        """The settings; None if no configuration was stored."""
        every = settings_of(view)
        if not every:
            return None
        hidden = {AT_THE_TOP} if view.config.get("diagnostics") else {AT_THE_TOP, DEPTH}
        front = [one for one in every if one.value != one.default and one.key not in hidden]
        return fragment("settings", front=front, every=every, kind=view.name.replace("_", " "))


def settings_of(view: ExperimentView) -> list[Setting]:
    """All settings of the experiment's runs, with the defaults of its kind."""
    kind = resolve_config([Layer("kind", dict(kind_of(view.name).defaults))])
    defaults = kind.config.model_dump(mode="json")
    return [
        Setting(key, _at(view.config, key), _at(defaults, key), source)
        for key, source in view.config.get(PROVENANCE, {}).items()
    ]


def _at(values: object, key: str) -> object:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


SECTION = Settings()
