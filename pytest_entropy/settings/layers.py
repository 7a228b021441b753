"""Merging layers of configuration, lowest first, with the source of every value."""

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
from pytest_entropy.settings.companions import AUTO
from pytest_entropy.settings.companions import DEFAULT as LEARNS
from pytest_entropy.settings.former_names import current_name, with_former_names
from pytest_entropy.settings.model import ExperimentConfig
from pytest_entropy.settings.probe import LARGEST_CHUNK
from pytest_entropy.settings.yaml_file import Document, Lines

PROVENANCE = "provenance"
# The next step that checkpoint and configuration imply; written for the reader, ignored when read as --config.
NEXT_STEP = "next_step"
# The source of a value that no layer gives.
BUILT_IN = "built-in default"
# The key that planning replaces by what it stands for.
DEPTH = "checks.depth"
# The keys that planning lowers where companions would be too many of the prompts: how many, and the most with auto.
READS, MOST_READS = "batch_config.reads", "batch_config.most_reads"
# The key that planning clears where the experiment takes no runs to a target, and the one that is then the most runs.
TARGET, RUNS = "batch_config.target_se", "batch_config.runs_per_batch"
_OLD_NAMES = {
    "B": "the old B is gone: use batch_config.B_E_values (a list) and batch_config.B_U",
    "B_E": "use batch_config.B_E_values, a list such as [16, 32, 64]",
}
# A run's files do not depend on how its result is judged, but for the depth, and the checkpoint has its own digest.
NOT_IN_DIGEST = ("checks", "checkpoint")


@dataclass(frozen=True)
class Layer:
    """The values of one source.

    Attributes:
        source: the file, the command line option or the like, as messages name it.
        values: nested as in YAML.
        lines: the line of each key, if the source is a file.
    """

    source: str
    values: Document
    lines: Lines = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedConfig:
    """The configuration in force, and the source of each of its values by dotted key."""

    config: ExperimentConfig
    sources: dict[str, str]

    def digest(self) -> str:
        """16 hexadecimal digits that identify all settings on which a run's files depend."""
        record = with_former_names(self.config.model_dump())
        for key in NOT_IN_DIGEST:
            del record[key]
        # The keys were added later: unset, they must not change the digest of directories that are to be resumed.
        for key in ("chat_template_kwargs", "tools"):
            if not record["prompts"][key]:
                del record["prompts"][key]
        if record["batch_config"]["updates"] == 1:
            del record["batch_config"]["updates"]
        # Of a target only counts that there is one: a run depends neither on it nor on the most runs.
        if record["batch_config"]["target_se"] is None:
            del record["batch_config"]["target_se"]
        else:
            record["batch_config"].update(target_se=True, runs_per_batch=None)
        # Estimators that learn nothing from U have no reads, and the numbers that they had before there were any.
        if not record["batch_config"]["reads"] and record["probe"]["estimator"] != LEARNS:
            del record["batch_config"]["reads"]
        if record["batch_config"].get("reads") != AUTO:
            del record["batch_config"]["most_reads"]
        # It was true or false; true meant every run.
        which = record["probe"]["total_variance"]
        record["probe"]["total_variance"] = {"all": True, "none": False}.get(which, which)
        # Of a depth only the runs with diagnostics count, where others are without; so depth full is as it always was.
        if self.config.has_plain_runs:
            record["diagnostics"] = list(self.config.diagnosed_runs)
        # The defaults were these before there was auto; responses are the same with either, other numbers to rounding.
        for name, former in (("static_cache", False), ("chunk_tokens", LARGEST_CHUNK)):
            if record["memory"][name] == "auto":
                record["memory"][name] = former
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]

    def at_depth(self, depth: str, source: str) -> ResolvedConfig:
        """This configuration with another ``checks.depth``.

        Args:
            depth: ``light`` or ``full``.
            source: where the value comes from, in words.
        """
        return self._with(DEPTH, depth, source)

    def with_reads(self, reads: int, source: str) -> ResolvedConfig:
        """This configuration with another ``batch_config.reads``.

        Args:
            reads: companions of each prompt of the entropy batch.
            source: where the value comes from, in words.
        """
        return self._with(READS, reads, source)

    def with_most_reads(self, reads: int, source: str) -> ResolvedConfig:
        """This configuration with another ``batch_config.most_reads``.

        Args:
            reads: the most companions of each prompt that an update batch may choose.
            source: where the value comes from, in words.
        """
        return self._with(MOST_READS, reads, source)

    def with_target(self, target: str | None, source: str) -> ResolvedConfig:
        """This configuration with another ``batch_config.target_se``.

        Args:
            target: the standard error to reach; None for none.
            source: where the value comes from, in words.
        """
        return self._with(TARGET, target, source)

    def with_most_runs(self, runs: int, source: str) -> ResolvedConfig:
        """This configuration with another ``batch_config.runs_per_batch``.

        Args:
            runs: the most runs along each update batch.
            source: where the value comes from, in words.
        """
        return self._with(RUNS, runs, source)

    def _with(self, key: str, value: object, source: str) -> ResolvedConfig:
        """This configuration with another value of a key ``section.name``."""
        section, _, name = key.partition(".")
        changed = getattr(self.config, section).model_copy(update={name: value})
        config = self.config.model_copy(update={section: changed})
        return ResolvedConfig(config, {**self.sources, key: source})

    def to_yaml(self, next_step: Mapping[str, Any] | None = None) -> str:
        """The configuration as YAML that ``--config`` accepts, with the source of each value.

        ``next_step`` holds further entries for the reader: the optimizer step that is probed.
        """
        record = {**self.config.model_dump(), PROVENANCE: self.sources}
        if next_step is not None:
            record[NEXT_STEP] = dict(next_step)
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def resolve_config(layers: Sequence[Layer]) -> ResolvedConfig:
    """Merge layers key by key, later layers over earlier ones, and validate the result.

    Raises:
        UsageError: a key is unknown (the message names the nearest known one) or no longer supported, or a value has
            the wrong type or is out of range; the message names the file and line, or the option.
    """
    merged: Document = {}
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
        layer_of_key = origin.get(key)
        sources[".".join(key)] = _place(layer_of_key, key) if layer_of_key else BUILT_IN
    return ResolvedConfig(config, sources)


def _place(layer: Layer, key: tuple[str, ...]) -> str:
    return f"{layer.source}, line {layer.lines[key]}" if key in layer.lines else layer.source


def _check_keys(values: Document, model: type[BaseModel], prefix: tuple[str, ...], layer: Layer) -> None:
    known = model.model_fields
    for name, value in values.items():
        key = (*prefix, str(name))
        where = _place(layer, key)
        if not prefix and name in (PROVENANCE, NEXT_STEP):
            continue
        if name in _OLD_NAMES and name not in known:
            raise UsageError(f"{where}: {'.'.join(key)}: {_OLD_NAMES[name]}")
        current = current_name(prefix, str(name))
        if current != name and current in values:
            raise UsageError(f"{where}: {'.'.join(key)} is the former name of {current}; give one of them")
        if current not in known:
            raise UsageError(f"{where}: unknown key {'.'.join(key)}; {_nearest(str(name), prefix, known)}")
        inner = known[current].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {'.'.join(key)} must be a section of keys, not {value!r}")
            _check_keys(value, inner, key, layer)


def _nearest(name: str, prefix: tuple[str, ...], known: Any) -> str:
    """A hint at the most similar key, of the same section if there is one, else of any section."""
    siblings = difflib.get_close_matches(name, list(known), n=1)
    if siblings:
        return f"did you mean {'.'.join((*prefix, siblings[0]))}?"
    everywhere = {key[-1]: ".".join(key) for key in _leaves(ExperimentConfig().model_dump())}
    elsewhere = difflib.get_close_matches(name, list(everywhere), n=1)
    if elsewhere:
        return f"did you mean {everywhere[elsewhere[0]]}?"
    return f"known here: {', '.join(known)}"


def _merge(
    into: Document,
    values: Document,
    prefix: tuple[str, ...],
    layer: Layer,
    origin: dict[tuple[str, ...], Layer],
) -> None:
    for name, value in values.items():
        if not prefix and name in (PROVENANCE, NEXT_STEP):
            continue
        # One layer may set the key by its former name, another by its current one.
        written, name = (*prefix, name), current_name(prefix, name)
        key = (*prefix, name)
        if isinstance(value, dict):
            # A mapping replaces a scalar of a lower layer; validation rejects it if the type is wrong.
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


def _leaves(record: Document, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
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
