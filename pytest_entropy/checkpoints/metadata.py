"""A checkpoint's learning rate, source of parameter names and sampling defaults, read without loading it.

They are for the session's header and ``config.yaml``.  A run reads its values when it loads the checkpoint, and its
results hold those.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.formats.dcp_metadata import read_description
from pytest_entropy.checkpoints.formats.safe_unpickler import UnpickledObject, unpickle
from pytest_entropy.checkpoints.states.state_record import state_dict_in

SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
_MAX_TENSORS = 100_000
_LARGEST_RATE = 1e6
UNREAD = "to be read when the checkpoint is loaded"


@dataclass(frozen=True)
class Metadata:
    """The learning rate, names and sampling defaults in a checkpoint's files.

    Attributes:
        learning_rate: largest rate of any group for the next step; the largest initial rate where the schedule has
            ended at 0; None where the files do not say.
        learning_rate_source: file and key of that rate, in words.
        names: where the optimizer's parameter names come from, in words.
        ignored_sampling: the sampling defaults beside the weights, none of which is used.
        states: number of parameters that the optimizer holds a state of; None where the files do not say.
    """

    learning_rate: float | None = None
    learning_rate_source: str = "nowhere"
    names: str = ""
    ignored_sampling: Mapping[str, Any] = field(default_factory=dict)
    states: int | None = None


def read_metadata(files: CheckpointFiles) -> Metadata:
    """Read a checkpoint's metadata; fields that only its tensors could fill keep their defaults."""
    groups, state = _groups(files.optimizer)
    rate, source = _rate(groups, files.optimizer.name)
    states = len(state) if groups else None
    return Metadata(rate, source, _names(files, groups, state), _sampling(files), states)


def _groups(optimizer: Path) -> tuple[list[Mapping[str, Any]], Mapping[Any, Any]]:
    """Parameter groups and state of an optimizer's state_dict; empty where they cannot be read."""
    try:
        record = _sharded(optimizer) if optimizer.is_dir() else _archived(optimizer)
        record = state_dict_in(optimizer, record)
        groups = record["param_groups"]
        return [group for group in groups if isinstance(group, dict)], record.get("state") or {}
    # Loading the checkpoint reports what is wrong with the file.
    except Exception:
        return [], {}


def _archived(file: Path | io.BytesIO) -> Any:
    """The object in a ``torch.save`` file, with a :class:`Record` in place of every tensor."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return unpickle(archive.read(name), _known)


def _known(module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
        return dict
    return UnpickledObject if module.partition(".")[0] == "torch" else None


def _sharded(directory: Path) -> Any:
    groups: dict[Any, dict[Any, Any]] = {}
    state: dict[Any, Any] = {}
    for item in read_description(directory, tensors=_MAX_TENSORS):
        if "param_groups" in item.path and item.size is None:
            part = item.parts[0]
            with (directory / part.file).open("rb") as stream:
                stream.seek(part.start)
                value = _archived(io.BytesIO(stream.read(part.length)))
            groups.setdefault(item.path[-2], {})[item.path[-1]] = value
        elif "state" in item.path:
            state[item.path[-2]] = {}
    return {"param_groups": list(groups.values()), "state": state}


def _rate(groups: Sequence[Mapping[str, Any]], name: str) -> tuple[float | None, str]:
    """The largest learning rate of the groups in the file ``name``, and where it is from."""
    if not groups:
        return None, UNREAD
    for key, source in (
        ("lr", f"{name} (lr of the next step)"),
        ("initial_lr", f"{name} (initial_lr; the schedule has ended at 0)"),
    ):
        rates = [group.get(key, 0.0) for group in groups]
        if not all(isinstance(rate, int | float) and abs(rate) < _LARGEST_RATE for rate in rates):
            return None, UNREAD
        if any(rates):
            return float(max(rates)), source
    return None, "nowhere"


def _names(files: CheckpointFiles, groups: Sequence[Mapping[str, Any]], state: Mapping[Any, Any]) -> str:
    if (state and all(isinstance(key, str) for key in state)) or (
        groups and all(_length(group.get("param_names")) == _length(group.get("params")) for group in groups)
    ):
        return f"names in {files.optimizer.name}"
    return f"names in {files.names.name}" if files.names is not None else f"order of {files.layout} checkpoints"


def _length(names: Any) -> int:
    return len(names) if isinstance(names, list | tuple) else 0


def _sampling(files: CheckpointFiles) -> dict[str, object]:
    """Sampling defaults beside the whole model's weights; transformers ignores those beside an adapter."""
    place = Path(files.base) if files.base is not None else files.weights
    try:
        record = json.loads((place / "generation_config.json").read_bytes())
        return {name: record[name] for name in SAMPLING if record.get(name) is not None}
    except (OSError, ValueError, AttributeError):
        return {}
