"""Why ``--resume`` finds nothing to continue: the nearest stored experiment, and what it differs in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.records.error_text import shown
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.paths import CONFIG
from pytest_entropy.records.results_directory import experiments_in
from pytest_entropy.settings.former_names import current_name
from pytest_entropy.settings.layers import NOT_IN_DIGEST, ResolvedConfig
from pytest_entropy.settings.yaml_file import read_yaml

# Experiments that are looked at, the newest ones; and differences that are named.
MOST_READ, MOST_NAMED = 20, 3


def why_nothing_is_kept(
    category: Path, experiment: str, checkpoint_digest: str, config_digest: str, resolved: ResolvedConfig
) -> str:
    """Why no stored experiment can be continued, in words, with the differences of the one that has the fewest.

    Args:
        category: the directory of all experiments of one kind.
        experiment: name of the experiment.
        checkpoint_digest: digest of the checkpoint's content.
        config_digest: digest of the configuration and of the files it names.
        resolved: the configuration.
    """
    stored = [entry for entry in experiments_in(category) if entry[1].experiment == experiment][-MOST_READ:]
    if not stored:
        return f"there is no earlier {experiment} in {shown(category)}"
    found = [
        (directory, _differences(directory, manifest, checkpoint_digest, config_digest, resolved))
        for directory, manifest in reversed(stored)
    ]
    nearest, differences = min(found, key=lambda entry: len(entry[1]))
    more = len(differences) - MOST_NAMED
    named = ", ".join(differences[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"no {experiment} in {shown(category)} is of this checkpoint and configuration; the nearest, {nearest.name}, "
        f"differs in {named}"
    )


def _differences(
    directory: Path, manifest: ExperimentRecord, checkpoint_digest: str, config_digest: str, resolved: ResolvedConfig
) -> list[str]:
    """What a stored experiment differs in, each as ``name before → now``."""
    out = []
    if manifest.checkpoint_digest != checkpoint_digest:
        out.append(f"the checkpoint's content {manifest.checkpoint_digest[:8]} → {checkpoint_digest[:8]}")
    if manifest.config_digest != config_digest:
        keys = _changed_keys(_config_of(directory), resolved)
        out += keys or ["the content of the prompts or rewards, or a setting of another version"]
    return out


def _changed_keys(before: Mapping[str, Any], resolved: ResolvedConfig) -> list[str]:
    """The settings that were stored with another value, and are not left out of the digest."""
    now = resolved.config.model_dump()
    changed = []
    for key in resolved.sources:
        path = key.split(".")
        old, new = _value(before, path), _value(now, path)
        if path[0] not in NOT_IN_DIGEST and old is not _ABSENT and old != new:
            changed.append(f"{key} {_in_words(old)} → {_in_words(new)}")
    return changed


_ABSENT = object()


def _value(record: Any, path: list[str]) -> Any:
    """The value at a path of keys, each by its current or former name."""
    for n, name in enumerate(path):
        if not isinstance(record, Mapping):
            return _ABSENT
        renamed = {current_name(tuple(path[:n]), str(key)): value for key, value in record.items()}
        record = renamed.get(name, _ABSENT)
    return record


def _in_words(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _config_of(directory: Path) -> dict[str, Any]:
    """The configuration in the first run directory that has a readable one; empty if there is none."""
    for file in sorted(directory.glob(f"*/{CONFIG}")):
        try:
            return read_yaml(file)[0]
        except UsageError:
            continue
    return {}
