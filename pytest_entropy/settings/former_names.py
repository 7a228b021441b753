"""Names that keys had in earlier versions: files keep them, and digests and baselines are over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# section -> former name -> name of today.
RENAMED: dict[str, dict[str, str]] = {"probe": {"advantage": "loss_type"}}


def todays_name(section: tuple[str, ...], name: str) -> str:
    """The name that a key of a section (its dotted path) has today."""
    return RENAMED.get(".".join(section), {}).get(name, name)


def with_former_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's record with the names that it had when directories and baselines were first written."""
    found = dict(record)
    for section, names in RENAMED.items():
        if isinstance(found.get(section), Mapping):
            former = {today: name for name, today in names.items()}
            found[section] = {former.get(name, name): value for name, value in found[section].items()}
    return found
