"""The measured fields of a stored run, and the run with one of them deleted, renamed, or another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_entropy.records.run import RunRecord

PARTS = ("agreement", "update", "u_statistic", "variance_parts", "reading", "companions")
# Of a record, what says which run it is, or describes it to a reader, and is no measurement.
WORDS = frozenset({
    "B_E", "G", "run", "seed", "eta_source", "estimator", "update_rule", "unit", "mode", "notes", "seconds",
    "memory_mb", "peak_memory_mb", "schema_version", "update.rule", "update.sample", "update.rewards_rechecked",
    "update.still_terms", "companions.count", "companions.opening",
    "reading.differing", "reading.unread",
})  # fmt: skip
WAYS = ("deleted", "renamed")


def fields_of(run: RunRecord) -> list[str]:
    """The names of everything that a stored run has measured, in its record and beside it, as ``needs`` have them."""
    record: Any = run.to_dict()
    parts = (*PARTS, "diagnostics")
    names = [name for name in record if name not in parts]
    names += [f"{part}.{name}" for part in parts for name in record[part]]
    names += [f"arrays.{name}" for name in run.arrays]
    return [name for name in names if name not in WORDS]


def stored_name(run: RunRecord, need: str) -> str:
    """The field of the record that ``need`` is read from: <X_n, u> has none of its own."""
    if need != "entropy_term":
        return need
    direct = run.mode == "two_batch" and run.unit == "nats per response" and not run.companions.count
    return "per_prompt" if direct else f"diagnostics.{run.estimator}"


def not_measured(run: RunRecord, need: str) -> RunRecord:
    """The run with the field ``need`` not measured, whether or not such a run could be stored."""
    name = stored_name(run, need)
    part, _, key = name.partition(".")
    if part in ("arrays", "diagnostics"):
        kept: Any = {k: v for k, v in getattr(run, part).items() if k != key}
        return replace(run, **{part: kept})
    return _with(run, name, [] if key in ("prompts", "rewards") else None)


def otherwise(run: RunRecord, need: str) -> RunRecord:
    """The run with other values in the field ``need``."""
    name = stored_name(run, need)
    return _with(run, name, _other(_value(run, name)))


def _value(run: RunRecord, name: str) -> Any:
    part, dot, key = name.partition(".")
    value = getattr(run, part)
    if not dot:
        return value
    return value.get(key) if isinstance(value, dict) else getattr(value, key)


def _with(run: RunRecord, name: str, value: Any) -> RunRecord:
    part, dot, key = name.partition(".")
    whole = getattr(run, part)
    if dot:
        value = {**whole, key: value} if isinstance(whole, dict) else replace(whole, **{key: value})
    return replace(run, **{part: value})


def _other(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return 2 * value + 1
    if isinstance(value, list):
        return [_other(item) for item in value]
    if isinstance(value, dict):
        return {key: _other(item) for key, item in value.items()}
    if isinstance(value, str):
        return f"other {value}"
    return value if value is None or isinstance(value, bool) else 2 * value + 1


def restored(run: RunRecord, name: str, way: str) -> RunRecord:
    """The run as its record gives it back once the field ``name`` is ``deleted`` or ``renamed`` there.

    Raises:
        KeyError: it is not there.
        RecordError: without it there is no run.
    """
    record: Any = run.to_dict()
    arrays = dict(run.arrays)
    part, dot, key = name.partition(".")
    where = arrays if part == "arrays" else record[part] if dot else record
    value = where.pop(key or part)
    if way == "renamed":
        where[f"{key or part}_renamed"] = value
    return RunRecord.from_dict(record, arrays, directory=run.directory)


def lacking(run: RunRecord, need: str) -> Iterator[tuple[str, RunRecord]]:
    """The run without the field ``need`` in every way that it can be without it, and the way in a word."""
    name = stored_name(run, need)
    if _value(run, name) is None:
        return
    yield "not measured", not_measured(run, need)
    for way in WAYS:
        try:
            yield way, restored(run, name, way)
        except (KeyError, ValueError):
            # It is not there, or what is left is refused as no run.
            continue
    if name.partition(".")[0] in PARTS and isinstance(_value(run, name), float):
        yield "not a number", _with(run, name, float("nan"))
