"""Baselines on disk: what a comparison needs of stored experiments, and what may not be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.records.baseline import Baseline, BaselineRun, SharedUpdate, Snapshot
from pytest_entropy.records.directories import all_experiments, read_manifest
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import BASELINES
from pytest_entropy.records.serialization import RecordError
from pytest_entropy.reports.view import view_experiment
from pytest_entropy.settings.former_names import with_former_names

SCHEMA_VERSION = 1
# Without these keys nothing can be compared.
_NEEDED = {"checkpoint_digest", "objective", "update", "runs"}
# Another value of one of these is another quantity, or other random numbers.
_OBJECTIVE = ("seed", "reward", "probe", "sampling", "batch_config.B_U", "batch_config.G", "batch_config.G_E")


def snapshot(directory: Path) -> Snapshot:
    """What a baseline keeps of an experiment directory.

    Raises:
        UsageError: it is none, or a planned run has no result; a baseline of what is left would be another one.
    """
    view = view_experiment(directory)
    if view.failures or view.missing or not view.runs:
        lacking = [*sorted(view.failures), *view.missing]
        raise UsageError(f"{directory}: no baseline, runs without a result: {', '.join(lacking) or 'all'}")
    return Snapshot(
        checkpoint=view.manifest.checkpoint,
        checkpoint_digest=view.manifest.checkpoint_digest,
        objective=objective(view.config),
        environment=view.manifest.environment,
        unit=view.unit,
        update=SharedUpdate.of(view.update),
        runs=[BaselineRun.of(run) for run in view.runs],
    )


def objective(config: Mapping[str, Any]) -> dict[str, object]:
    """The part of a configuration that says which quantity is measured with which random numbers, by dotted key."""
    out: dict[str, Any] = {}
    config = with_former_names(config)
    for key in _OBJECTIVE:
        value: Any = config
        for part in key.split("."):
            # A setting that older versions did not have was at its default then: none.
            value = value.get(part) if isinstance(value, Mapping) else None
        out |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, Mapping) else {key: value}
    # A reward file of two checkouts has two paths.
    rewards = out["reward"] if isinstance(out["reward"], list) else [out["reward"]]
    out["reward"] = [
        {**reward, "name": Path(reward["name"]).name} if isinstance(reward, Mapping) else Path(str(reward)).name
        for reward in rewards
    ]
    return out


def save(path: Path, name: str, directories: Iterable[Path]) -> Path:
    """Write the baseline of some experiment directories, whole or not at all.

    Raises:
        UsageError: one of them is incomplete.
    """
    experiments = {}
    for directory in directories:
        kept = snapshot(directory)
        manifest = read_manifest(directory)
        if manifest is not None:
            experiments[manifest.experiment] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, Baseline(schema_version=SCHEMA_VERSION, name=name, experiments=experiments).to_dict())
    return path


def locate(root: Path, name: str) -> Path:
    """The file of a baseline: a path is taken as it is, a name lies in ``baselines/`` of the results directory."""
    if name.endswith(".json") or "/" in name or "\\" in name:
        return Path(name).expanduser()
    return root / BASELINES / f"{name}.json"


def load_baseline(path: Path, *, anyway: bool = False) -> Baseline:
    """A baseline's record.

    Raises:
        UsageError: not a baseline, or of another schema version (unless ``anyway``).
    """
    try:
        record = read_json(path)
        version, experiments = record["schema_version"], record["experiments"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a baseline written by --entropy-save: {error!r}") from error
    if version != SCHEMA_VERSION and not anyway:
        raise UsageError(
            f"{path} has schema version {version}, this version compares {SCHEMA_VERSION}: save it again, or give "
            "--entropy-compare-anyway"
        )
    read = {name: _read_snapshot(path, name, experiment) for name, experiment in experiments.items()}
    return Baseline(schema_version=version, name=str(record.get("name", "")), experiments=read)


def _read_snapshot(path: Path, name: str, experiment: Mapping[str, object]) -> Snapshot:
    lacking = _NEEDED - set(experiment)
    if lacking or not experiment["runs"]:
        raise UsageError(f"{path}: experiments.{name} lacks {', '.join(sorted(lacking)) or 'runs'}")
    try:
        return Snapshot.from_dict(experiment)
    except RecordError as error:
        raise UsageError(f"{path}: experiments.{name} is not of a baseline: {error}") from error


def gather(place: Path) -> dict[str, Snapshot]:
    """Experiments by name of a baseline file, an experiment directory, or the newest of each kind in results.

    Raises:
        UsageError: it is nothing of these.
    """
    if place.is_file():
        return load_baseline(place).experiments
    manifest = read_manifest(place)
    if manifest is not None:
        return {manifest.experiment: snapshot(place)}
    newest = {found.experiment: directory for directory, found in all_experiments(place)}
    if not newest:
        raise UsageError(f"{place} is neither a baseline, an experiment directory, nor a results directory")
    return {name: snapshot(directory) for name, directory in newest.items()}


def refuse_another(before: Snapshot, digest: str, now: Mapping[str, object], where: str) -> None:
    """Refuse to compare two checkpoints, or two quantities.

    Raises:
        UsageError: names what differs.
    """
    remedy = "save a new one with --entropy-save, or give --entropy-compare-anyway"
    if before.checkpoint_digest != digest:
        raise UsageError(
            f"{where} is of another checkpoint ({before.checkpoint}, digest {before.checkpoint_digest}; now "
            f"{digest}): {remedy}"
        )
    keys = sorted(set(before.objective) | set(now))
    other = [key for key in keys if before.objective.get(key) != now.get(key)]
    if other:
        listed = ", ".join(f"{key} {before.objective.get(key)!r}, now {now.get(key)!r}" for key in other)
        raise UsageError(f"{where} measured something else ({listed}): {remedy}")
