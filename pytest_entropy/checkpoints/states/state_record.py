"""Find an optimizer's state_dict in the record that a trainer put it into; only keys are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError

# {"state": {"optimizer": ...}} is as deep as trainers go.
_DEEPEST = 3
_NAMED = 8


def is_state_dict(record: Any) -> bool:
    """Whether a record has the two keys of an optimizer's state_dict."""
    return isinstance(record, Mapping) and "state" in record and "param_groups" in record


def state_dict_in(path: Path, record: Any) -> Any:
    """The only optimizer's state_dict in a record, or the record itself where it holds none.

    Trainers save ``{"optimizer": …, "scheduler": …}``, ``{"optim": …}``, ``{"optimizer_states": […]}`` and the like.

    Args:
        path: its file, for the message.
        record: what the file holds, or its outline.

    Raises:
        UsageError: it holds several; which of them moves the policy is unknown.
    """
    found = dict(_within(record, "record", _DEEPEST))
    if len(found) > 1:
        raise UsageError(
            f"{path} holds several optimizers: {', '.join(sorted(found)[:_NAMED])}. Save the policy's alone, as in "
            f"torch.save({min(found)}, 'optimizer.pt')"
        )
    return next(iter(found.values()), record)


def require_state_dict(path: Path, record: Any) -> Any:
    """The state_dict in a record, by :func:`state_dict_in`.

    Args:
        path: its file, for the message.
        record: what the file holds, or its outline.

    Raises:
        UsageError: it holds none, or several.
    """
    inner = state_dict_in(path, record)
    if is_state_dict(inner) and isinstance(inner["state"], Mapping) and inner["param_groups"]:
        return inner
    keys = ", ".join(sorted(repr(key)[:40] for key in record)[:_NAMED]) if isinstance(record, Mapping) else ""
    holds = f"; it holds {keys}" if keys else ""
    raise UsageError(f"{path} is not an optimizer's state_dict (needs 'state' and 'param_groups'{holds})")


def _within(record: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every state_dict in nested records, by the expression that takes it out."""
    if is_state_dict(record):
        yield name, record
    elif depth and isinstance(record, Mapping | list):
        pairs = record.items() if isinstance(record, Mapping) else enumerate(record)
        for key, value in pairs:
            yield from _within(value, f"{name}[{str(key)[:40]!r}]" if isinstance(key, str) else name, depth - 1)
