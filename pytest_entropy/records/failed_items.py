"""``failed_items.json``: the tests of an experiment that failed, kept as they fail, so that reports can say so.

An assertion in somebody's own experiment leaves no check behind; without this its report would look green.
"""

from __future__ import annotations

from pathlib import Path

from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import FAILED_ITEMS, MANIFEST


def note_item(directory: Path, name: str, reason: str | None) -> None:
    """An item has failed for a ``reason``, or passed (None), which in a resumed experiment strikes out its failure."""
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
    """The first line of why each failed item failed, by its name."""
    try:
        found = read_json(directory / FAILED_ITEMS)["items"]
        return {str(name): str(reason) for name, reason in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def reason_of(longrepr: object) -> str:
    """The first line of a failure's message, without the name of ``AssertionError``."""
    crash = getattr(longrepr, "reprcrash", None)
    lines = str(crash.message if crash is not None else longrepr).strip().splitlines()
    return lines[0].removeprefix("AssertionError: ") if lines else "no message"
