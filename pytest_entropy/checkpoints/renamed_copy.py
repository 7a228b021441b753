"""Give libraries a checkpoint's tensors under the names that they expect: a copy that is gone after loading.

transformers and peft read directories, and each version renames tensors in its own way; a copy suits them all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from pytest_entropy.checkpoints.formats.weights_file import ADAPTER, INDEX, WHOLE, WeightsFile, shards
from pytest_entropy.checkpoints.stored_prefixes import Renaming, adapter_renaming, model_renaming, rename_command
from pytest_entropy.errors import UsageError


@contextmanager
def model_as_expected(source: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A whole model's directory, or a copy of it with the names that transformers expects, and these names
    by key in the file; no names where nothing is renamed.

    Args:
        source: directory, or id in the hub's cache, which is left as it is.

    Raises:
        UsageError: names cannot be made out, or there is no room for the copy.
    """
    renaming = model_renaming(Path(source)) if Path(source).is_dir() else None
    with _copied(Path(source), renaming) as place:
        yield (source, {}) if renaming is None else (str(place), renaming.names)


@contextmanager
def adapter_as_expected(directory: Path, model: Any) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """An adapter's directory, or a copy of it with the names that peft expects, and these names
    by key in the file; no names where nothing is renamed.

    Args:
        directory: the adapter's.
        model: the base model, not wrapped yet.

    Raises:
        UsageError: two tensors would get the same name, or there is no room for the copy.
    """
    weights = WeightsFile(directory)
    shapes = {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "shape", None) is not None
    }

    def fits(key: str, module: str) -> bool:
        mine, whole = weights.shape(key), shapes.get(module, ())
        return len(whole) != 2 or len(mine) != 2 or bool(set(mine) & set(whole))

    renaming = adapter_renaming(directory, {name for name, _ in model.named_modules()}, fits)
    with _copied(directory, renaming) as place:
        yield place, {} if renaming is None else renaming.names


def spare_names(source: str, report: Mapping[str, Any]) -> str:
    """What a message on missing tensors adds where the weights hold others, which the model has no place for.

    Args:
        source: the model's directory.
        report: of transformers' loading.
    """
    others = sorted(report["unexpected_keys"], key=len)
    if not others:
        return ""
    # Some versions of transformers report a name that they have put "model." in front of.
    stored = WeightsFile(Path(source)) if Path(source).is_dir() else ()
    key = next((key for key in sorted(stored, key=len) if others[0].endswith(key)), others[0])
    return f". They hold {len(others)} others, for instance {key[:160]}: {rename_command(Path(source), key)}"


@contextmanager
def _copied(directory: Path, renaming: Renaming | None) -> Iterator[Path]:
    """The directory, or where there is a renaming a temporary copy of it."""
    if renaming is None:
        yield directory
        return
    files = _by_file(directory, renaming)
    size = sum((directory / name).stat().st_size for name in files)
    if size > shutil.disk_usage(tempfile.gettempdir()).free:
        key = min(renaming.names, key=len)
        raise UsageError(
            f"{renaming}, which takes a copy of {size / 2**30:.1f} GiB, and {tempfile.gettempdir()} lacks room for it: "
            f"{rename_command(directory, key)}"
        )
    with tempfile.TemporaryDirectory(prefix="pytest-entropy-") as temporary:
        place = Path(temporary)
        for file in directory.iterdir():
            if file.is_file() and file.suffix != ".safetensors" and file.name != INDEX:
                (place / file.name).symlink_to(file.resolve())
        _write(WeightsFile(directory), renaming, files, place)
        yield place


def _by_file(directory: Path, renaming: Renaming) -> dict[str, list[str]]:
    """The keys of every file of a directory's weights."""
    single = next((name for name in (ADAPTER, WHOLE) if (directory / name).is_file()), None)
    if single is not None:
        return {single: list(renaming.names)}
    files: dict[str, list[str]] = defaultdict(list)
    for key, name in shards(directory).items():
        files[name].append(key)
    return files


def _write(weights: WeightsFile, renaming: Renaming, files: dict[str, list[str]], place: Path) -> None:
    for name, keys in files.items():
        tensors = {renaming.names[key]: weights.read(key).contiguous() for key in keys}
        save_file(tensors, place / name, metadata={"format": "pt"})
    if not {ADAPTER, WHOLE} & set(files):
        index = {renaming.names[key]: name for name, keys in files.items() for key in keys}
        (place / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}), encoding="utf-8")
