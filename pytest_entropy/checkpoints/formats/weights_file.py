"""Safetensors weights on disk, tensor by tensor, and the keys under which they hold a loaded model's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from pytest_entropy.checkpoints.files import read_object
from pytest_entropy.checkpoints.states.parameter_order import live_name
from pytest_entropy.errors import UsageError

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter_model.safetensors"
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def stored_names(
    model: Any, wrapped: Any | None, directory: Path | None = None, names: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The key in the weights file of each parameter, by live name.

    An adapter's keys are matched by storage, not by name: peft saves the live tensors themselves.  The parameters of a
    whole model keep their names on disk, except those that transformers renames: these get the one unmatched key of
    ``directory`` whose tensor has the same values.

    Args:
        model: the model that the optimizer sees.
        wrapped: the PeftModel around it; None for a whole model.
        directory: a whole model's weights; without it no renamed parameter is looked for.
        names: that the libraries were given, by key in the file, where these differ.
    """
    on_disk = {name: key for key, name in (names or {}).items()}
    if wrapped is None:
        own = {name: on_disk.get(name, name) for name, _ in model.named_parameters()}
        if on_disk or directory is None:
            return own
        return own | _renamed(dict(model.named_parameters()), WeightsFile(directory))
    from peft import get_peft_model_state_dict

    keys = {
        tensor.data_ptr(): key
        for key, tensor in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()
    }
    named = ((name, keys.get(p.data_ptr())) for name, p in model.named_parameters() if p.numel())
    return {name: on_disk.get(key, key) for name, key in named if key is not None}


def _renamed(live: Mapping[str, torch.Tensor], weights: WeightsFile) -> dict[str, str]:
    """Keys of parameters with another name on disk; where several tensors have the same values, none is taken."""
    unmatched = [key for key in weights if key not in live]
    keys = {}
    for name in (name for name in live if name not in weights):
        same_shape = [key for key in unmatched if weights.shape(key) == tuple(live[name].shape)]
        equal = [key for key in same_shape if bool((weights.read(key).to(live[name]) == live[name]).all())]
        if len(equal) == 1:
            keys[name] = equal[0]
    return keys


class WeightsFile:
    """The safetensors of one directory, sharded or not, opened lazily; only :meth:`read` imports torch."""

    def __init__(self, directory: Path) -> None:
        """Find the file or files.

        Raises:
            UsageError: the index names a file that is not in the directory, or a file cannot be read.
        """
        self.directory = directory
        self._files: dict[tuple[Path, str], Any] = {}
        single = [directory / name for name in (ADAPTER, WHOLE) if (directory / name).is_file()]
        self._shard_of: Mapping[str, Path] = {}
        if single:
            self._shard_of = dict.fromkeys(self._open(single[0]).keys(), single[0])
        elif (directory / INDEX).is_file():
            self._shard_of = {key: directory / name for key, name in shards(directory).items()}

    def __contains__(self, key: str) -> bool:
        return key in self._shard_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._shard_of)

    def read(self, key: str) -> torch.Tensor:
        """The tensor as stored, on the CPU.

        Raises:
            UsageError: the file is damaged.
        """
        tensor: torch.Tensor = self._open(self._shard_of[key], "pt").get_tensor(key)
        return tensor

    def shape(self, key: str) -> tuple[int, ...]:
        """The tensor's shape, from the header."""
        return tuple(self._open(self._shard_of[key]).get_slice(key).get_shape())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors, by key without wrappers' prefixes (:func:`live_name`)."""
        return {live_name(key): self.shape(key) for key in self._shard_of}

    def dtype(self, key: str) -> str:
        """The tensor's type as safetensors spells it, from the header."""
        return str(self._open(self._shard_of[key]).get_slice(key).get_dtype())

    def _open(self, path: Path, framework: str = "np") -> Any:
        if (path, framework) not in self._files:
            try:
                self._files[path, framework] = safe_open(str(path), framework=framework)
            except (OSError, SafetensorError) as error:
                raise UsageError(f"weights {path} cannot be read: {error}") from error
        return self._files[path, framework]


def shards(directory: Path) -> dict[str, str]:
    """The file name of every tensor, from the index of a sharded model.

    Raises:
        UsageError: the index has no ``weight_map``, or names a file that is not in the directory.
    """
    index = directory / INDEX
    record = read_object(index).get("weight_map")
    if not isinstance(record, dict) or not record:
        raise UsageError(f"{index} has no weight_map: which tensor is in which file")
    for key, name in record.items():
        if not isinstance(name, str) or Path(name).name != name or not (directory / name).is_file():
            raise UsageError(f"{index} puts {key} into {name!r}, which is not a file of {directory}")
    return record
