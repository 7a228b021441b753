"""Former names of configuration keys, which files may still use, and which digests and baselines are computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# section -> former name -> current name.
RENAMED: dict[str, dict[str, str]] = {"probe": {"advantage": "loss_type"}}


def current_name(section: tuple[str, ...], name: str) -> str:
    """The current name of a key.

    Args:
        section: the path of the key's section.
        name: the key's current or former name.
    """
    return RENAMED.get(".".join(section), {}).get(name, name)


def with_former_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as nested mappings with the former names of its keys, for digests and baselines."""
    renamed = dict(record)
    for section, names in RENAMED.items():
        if isinstance(renamed.get(section), Mapping):
            former = {current: name for name, current in names.items()}
            renamed[section] = {former.get(name, name): value for name, value in renamed[section].items()}
    return renamed
