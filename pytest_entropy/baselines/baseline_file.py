"""Baseline files: take snapshots of stored experiments, write and read them, and reject what is not comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.records.baseline import Baseline, BaselineRun, SharedUpdate, Snapshot
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import BASELINES
from pytest_entropy.records.results_directory import all_experiments, read_manifest
from pytest_entropy.records.serialization import RecordError
from pytest_entropy.reports.legacy import legacy_at
from pytest_entropy.reports.view import view_experiment
from pytest_entropy.settings.former_names import with_former_names

SCHEMA_VERSION = 1
# How a session compares all the same.
GATE_FLAG = "--entropy-compare-anyway"
GATE_REMEDY = f"save a new one with --entropy-save, or give {GATE_FLAG}"
# Keys of a snapshot that every comparison reads.
_REQUIRED = {"checkpoint_digest", "objective", "update", "runs"}
# Further sections of settings that may move a number, by rounding at least.
_MOVING = ("model", "prompts", "memory")
# Settings that decide which quantity is measured, or with which random numbers.
_OBJECTIVE = ("seed", "reward", "probe", "sampling", "batch_config.B_U", "batch_config.G", "batch_config.G_E")


def snapshot(directory: Path) -> Snapshot:
    """The snapshot of an experiment directory, with all that a comparison reads of it.

    Raises:
        UsageError: the directory holds no experiment, or a planned run has no result (a baseline of the other runs
            would describe another experiment).
    """
    view = view_experiment(directory)
    if view.failures or view.missing or not view.runs:
        without_result = [*sorted(view.failures), *view.missing]
        raise UsageError(
            f"{directory} is incomplete and cannot be compared, runs without a result: "
            f"{', '.join(without_result) or 'all'}"
        )
    return Snapshot(
        checkpoint=view.manifest.checkpoint,
        checkpoint_digest=view.manifest.checkpoint_digest,
        objective=objective(view.config),
        environment=view.manifest.environment,
        settings={
            # The same file or model has another path in another checkout.
            key: Path(value).name if isinstance(value, str) and "/" in value else value
            for key, value in _flat(with_former_names(view.config), _MOVING).items()
        },
        config_digest=view.manifest.config_digest,
        unit=view.unit,
        update=SharedUpdate.of(view.update),
        runs=[BaselineRun.of(run) for run in view.runs],
    )


def objective(config: Mapping[str, Any]) -> dict[str, object]:
    """The settings that decide which quantity is measured, and with which random numbers, by dotted key."""
    out = _flat(with_former_names(config), _OBJECTIVE)
    # The same reward file has another path in another checkout.
    rewards = out["reward"] if isinstance(out["reward"], list) else [out["reward"]]
    out["reward"] = [
        {**reward, "name": Path(reward["name"]).name} if isinstance(reward, Mapping) else Path(str(reward)).name
        for reward in rewards
    ]
    return out


def _flat(config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, object]:
    """The values of these keys, and of what a section among them holds, by dotted key."""
    out: dict[str, object] = {}
    for key in keys:
        value: Any = config
        for part in key.split("."):
            # Older versions did not have every setting; theirs was the default, None.
            value = value.get(part) if isinstance(value, Mapping) else None
        out |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, Mapping) else {key: value}
    return out


def save(path: Path, name: str, directories: Iterable[Path]) -> Path:
    """Write a baseline file with the snapshots of the experiment directories, atomically.

    Args:
        path: the file to write.
        name: the baseline's name, as recorded in the file.
        directories: experiment directories; one per experiment name.

    Returns:
        ``path``.

    Raises:
        UsageError: a directory's experiment is incomplete.
    """
    experiments = {}
    for directory in directories:
        experiment = snapshot(directory)
        manifest = read_manifest(directory)
        if manifest is not None:
            experiments[manifest.experiment] = experiment
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, Baseline(schema_version=SCHEMA_VERSION, name=name, experiments=experiments).to_dict())
    return path


def locate(root: Path, name: str) -> Path:
    """The path of a baseline file: a path is taken as it is, a name is a file in ``baselines/`` of the results.

    Args:
        root: the results directory.
        name: a path (with a slash, or ending in ``.json``), or a baseline's name.
    """
    if name.endswith(".json") or "/" in name or "\\" in name:
        return Path(name).expanduser()
    return root / BASELINES / f"{name}.json"


def newest_baseline(root: Path) -> Path | None:
    """The newest baseline in ``baselines/`` of a results directory, by the time its file was written; None if none."""
    files = [file for file in (root / BASELINES).glob("*.json") if not file.name.startswith(".")]
    return max(files, key=lambda file: (file.stat().st_mtime_ns, file.name), default=None)


def load_baseline(path: Path, *, anyway: bool = False, flag: str = GATE_FLAG) -> Baseline:
    """Read a baseline file.

    Args:
        path: the file, as written by :func:`save`.
        anyway: accept another schema version.
        flag: the option that sets ``anyway``, for messages.

    Raises:
        UsageError: the file is no baseline, or has another schema version and ``anyway`` is false.
    """
    try:
        record = read_json(path)
        version, experiments = record["schema_version"], record["experiments"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a baseline written by --entropy-save: {error!r}") from error
    if version != SCHEMA_VERSION and not anyway:
        raise UsageError(
            f"{path} has schema version {version}, this version compares {SCHEMA_VERSION}: save it again or give {flag}"
        )
    snapshots = {name: _read_snapshot(path, name, experiment) for name, experiment in experiments.items()}
    return Baseline(schema_version=version, name=str(record.get("name", "")), experiments=snapshots)


def _read_snapshot(path: Path, name: str, experiment: Mapping[str, object]) -> Snapshot:
    missing = _REQUIRED - set(experiment)
    if missing or not experiment["runs"]:
        raise UsageError(f"{path}: experiments.{name} lacks {', '.join(sorted(missing)) or 'runs'}")
    try:
        return Snapshot.from_dict(experiment)
    except RecordError as error:
        raise UsageError(f"{path}: experiments.{name} is not a baseline's snapshot: {error}") from error


def gather(place: Path, *, anyway: bool = False, flag: str = GATE_FLAG) -> dict[str, Snapshot]:
    """Snapshots by experiment name, from a baseline file, an experiment directory, or a results directory.

    Of a results directory, the newest experiment of each name is taken.

    Args:
        place: the path.
        anyway, flag: those of :func:`load_baseline`.

    Raises:
        UsageError: the path is none of the three, or one of its experiments is incomplete.
    """
    if place.is_file():
        return load_baseline(place, anyway=anyway, flag=flag).experiments
    manifest = read_manifest(place)
    if manifest is not None:
        return {manifest.experiment: snapshot(place)}
    newest = {manifest.experiment: directory for directory, manifest in all_experiments(place)}
    if not newest and any(legacy_at(place)):
        raise UsageError(
            f"{place} is legacy: results of run_entropy_test.py lack what a comparison reads; measure again"
        )
    if not newest:
        raise UsageError(f"{place} is neither a baseline, an experiment directory, nor a results directory")
    return {name: snapshot(directory) for name, directory in newest.items()}


def refuse_another(
    before: Snapshot, digest: str, now: Mapping[str, object], where: str, *, remedy: str = GATE_REMEDY
) -> None:
    """Reject a comparison of two checkpoints, or of two different quantities.

    Args:
        before: the baseline's snapshot.
        digest: the digest of the checkpoint measured now.
        now: the :func:`objective` of the configuration measured now.
        where: the baseline and experiment, for the message.
        remedy: what to do, for the message.

    Raises:
        UsageError: the checkpoint or a setting differs; the message names it, with both values.
    """
    if before.checkpoint_digest != digest:
        raise UsageError(
            f"{where} is of another checkpoint ({before.checkpoint}, digest {before.checkpoint_digest}; now "
            f"{digest}): {remedy}"
        )
    keys = sorted(set(before.objective) | set(now))
    changed = [key for key in keys if before.objective.get(key) != now.get(key)]
    if changed:
        listed = ", ".join(f"{key} {before.objective.get(key)!r}, now {now.get(key)!r}" for key in changed)
        raise UsageError(f"{where} measured something else ({listed}): {remedy}")
