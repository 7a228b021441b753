"""Layers of configuration, lowest first, and where every value came from."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.former_names import todays_name, with_former_names
from pytest_entropy.settings.model import ExperimentConfig
from pytest_entropy.settings.yaml_file import Lines

PROVENANCE = "provenance"
# What the checkpoint adds to the configuration; for the reader, and ignored where the file is given as --config.
NEXT_STEP = "next_step"
_OLD_NAMES = {
    "B": "the old B is gone: use batch_config.B_E_values (a list) and batch_config.B_U",
    "B_E": "use batch_config.B_E_values, a list such as [16, 32, 64]",
}
# How a result is judged; what a run leaves behind does not depend on it.  The checkpoint has a digest of its own.
_NOT_IN_DIGEST = ("checks", "checkpoint")


@dataclass(frozen=True)
class Layer:
    """Values of one origin: nested as in YAML; ``lines`` where they stand in a file."""

    source: str
    values: dict[str, Any]
    lines: Lines = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedConfig:
    """The configuration in force, and the source of each of its values by dotted key."""

    config: ExperimentConfig
    sources: dict[str, str]

    def digest(self) -> str:
        """16 hex digits over everything a run's files depend on, the checkpoint's content apart."""
        record = with_former_names(self.config.model_dump())
        for key in _NOT_IN_DIGEST:
            del record[key]
        # A key that came later and is not in use leaves the directories that were begun without it resumable.
        if not record["prompts"]["chat_template_kwargs"]:
            del record["prompts"]["chat_template_kwargs"]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]

    def to_yaml(self, next_step: Mapping[str, Any] | None = None) -> str:
        """A file ``--config`` accepts again: the values, and beside them where each came from.

        ``next_step`` is what checkpoint and configuration together say of the step that is probed.
        """
        record = {**self.config.model_dump(), PROVENANCE: self.sources}
        if next_step is not None:
            record[NEXT_STEP] = dict(next_step)
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def resolve_config(layers: Sequence[Layer]) -> ResolvedConfig:
    """Merge layers key by key, later over earlier, and validate.

    Raises:
        UsageError: an unknown key (the nearest known one is named), an old one, or a value of wrong type or
            out of range; each with the file and line, or the option, it came from.
    """
    merged: dict[str, Any] = {}
    origin: dict[tuple[str, ...], Layer] = {}
    for layer in layers:
        _check_keys(layer.values, ExperimentConfig, (), layer)
        _merge(merged, layer.values, (), layer, origin)
    try:
        config = ExperimentConfig.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_explain(error, origin)) from error
    sources = {}
    for key in _leaves(config.model_dump()):
        found = origin.get(key)
        sources[".".join(key)] = _place(found, key) if found else "built-in default"
    return ResolvedConfig(config, sources)


def _place(layer: Layer, key: tuple[str, ...]) -> str:
    return f"{layer.source}, line {layer.lines[key]}" if key in layer.lines else layer.source


def _check_keys(values: dict[str, Any], model: type[BaseModel], prefix: tuple[str, ...], layer: Layer) -> None:
    known = model.model_fields
    for name, value in values.items():
        key = (*prefix, str(name))
        where = _place(layer, key)
        if not prefix and name in (PROVENANCE, NEXT_STEP):
            continue
        if name in _OLD_NAMES and name not in known:
            raise UsageError(f"{where}: {'.'.join(key)}: {_OLD_NAMES[name]}")
        today = todays_name(prefix, str(name))
        if today != name and today in values:
            raise UsageError(f"{where}: {'.'.join(key)} is the former name of {today}; give one of them")
        if today not in known:
            raise UsageError(f"{where}: unknown key {'.'.join(key)}; {_nearest(str(name), prefix, known)}")
        inner = known[today].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {'.'.join(key)} must be a section of keys, not {value!r}")
            _check_keys(value, inner, key, layer)


def _nearest(name: str, prefix: tuple[str, ...], known: Any) -> str:
    """The likeliest key meant: among its siblings first, then anywhere."""
    here = difflib.get_close_matches(name, list(known), n=1)
    if here:
        return f"did you mean {'.'.join((*prefix, here[0]))}?"
    everywhere = {key[-1]: ".".join(key) for key in _leaves(ExperimentConfig().model_dump())}
    there = difflib.get_close_matches(name, list(everywhere), n=1)
    if there:
        return f"did you mean {everywhere[there[0]]}?"
    return f"known here: {', '.join(known)}"


def _merge(
    into: dict[str, Any],
    values: dict[str, Any],
    prefix: tuple[str, ...],
    layer: Layer,
    origin: dict[tuple[str, ...], Layer],
) -> None:
    for name, value in values.items():
        if not prefix and name in (PROVENANCE, NEXT_STEP):
            continue
        # A layer by the former name and one by today's are of one setting.
        written, name = (*prefix, name), todays_name(prefix, name)
        key = (*prefix, name)
        if isinstance(value, dict):
            # A mapping over a scalar of a lower layer replaces it; validation says whether it may.
            if not isinstance(into.get(name), dict):
                into[name] = {}
            _merge(into[name], value, key, layer, origin)
        else:
            into[name] = value
            origin[key] = (
                layer
                if written not in layer.lines
                else replace(layer, lines={**layer.lines, key: layer.lines[written]})
            )


def _leaves(record: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    out = []
    for name, value in record.items():
        out += _leaves(value, (*prefix, name)) if isinstance(value, dict) else [(*prefix, name)]
    return out


def _explain(error: ValidationError, origin: dict[tuple[str, ...], Layer]) -> str:
    lines = []
    for item in error.errors():
        key = tuple(str(part) for part in item["loc"] if isinstance(part, str))
        layer = origin.get(key)
        where = _place(layer, key) if layer else "configuration"
        name = ".".join(str(part) for part in item["loc"])
        value = f" (given: {item['input']!r})" if name and not isinstance(item["input"], dict) else ""
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {name + ': ' if name else ''}{message}{value}")
    return "\n".join(lines)
