"""``failed_items.json``: the failed test items of an experiment, recorded as they fail, for its report.

A plain assertion in a user's experiment records no check outcome; without this file its report would look green.
"""

from __future__ import annotations

import os
from pathlib import Path

from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import FAILED_ITEMS, MANIFEST


def note_item(directory: str | Path, name: str, reason: str | None) -> None:
    """Record that an item has failed, or, if it has passed, delete the failure that an earlier session recorded.

    Args:
        directory: the experiment's; nothing is written if it has no manifest.
        name: the item's.
        reason: the first line of the failure's message; None if the item has passed.
    """
    # Nearly every item passes, and nothing is recorded of it.
    if reason is None and not os.path.isfile(os.path.join(directory, FAILED_ITEMS)):
        return
    directory = Path(directory)
    if not (directory / MANIFEST).is_file():
        return
    items = failed_items(directory)
    if items.get(name) == reason:
        return
    items = {key: value for key, value in items.items() if key != name}
    if reason is not None:
        items[name] = reason
    write_json(directory / FAILED_ITEMS, {"schema_version": 1, "items": items})


def failed_items(directory: Path) -> dict[str, str]:
    """The first line of each failed item's message, by the item's name; empty if the file is missing or unreadable."""
    try:
        items = read_json(directory / FAILED_ITEMS)["items"]
        return {str(name): str(reason) for name, reason in items.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def reason_of(longrepr: object) -> str:
    """The first line of the message in pytest's ``longrepr``, without the prefix ``AssertionError:``."""
    crash = getattr(longrepr, "reprcrash", None)
    lines = str(crash.message if crash is not None else longrepr).strip().splitlines()
    return lines[0].removeprefix("AssertionError: ") if lines else "no message"
