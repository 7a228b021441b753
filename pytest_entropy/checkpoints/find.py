"""Find a checkpoint: the layout of its directory, and the base model of its adapter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pytest_entropy.checkpoints.files import CheckpointFiles, has_adapter, has_weights, read_object
from pytest_entropy.checkpoints.layouts import known_layouts
from pytest_entropy.checkpoints.stored_prefixes import found_renamings
from pytest_entropy.errors import UsageError

_LONGEST_PART = 255


def find_checkpoint(path: str | Path, base_model: str | None = None) -> CheckpointFiles:
    """Recognise the layout of the checkpoint at ``path``; no model is loaded and torch is not imported.

    Raises:
        UsageError: there is no such directory, its layout is unknown (the message says which files were expected and
            which were found), it has no optimizer state, or the base model of its adapter cannot be found.
    """
    path = _at_home(path)
    layouts = known_layouts()
    if not path.is_dir():
        what = "is a file, not a directory" if path.is_file() else "does not exist"
        expected = "\n".join(f"  - {layout.name}: {layout.expects}" for layout in layouts)
        raise UsageError(f"checkpoint {path} {what}; expected a directory of one of these kinds:\n{expected}")
    for layout in layouts:
        files = layout.find(path)
        if files is not None:
            return _with_renamed(_with_base(files, base_model))
    pickled = [name for name in ("pytorch_model.bin", "pytorch_model.bin.index.json") if (path / name).is_file()]
    if pickled:
        raise UsageError(
            f"checkpoint {path} has its weights in {pickled[0]}, a pickle, which is not opened; save it again with "
            "model.save_pretrained(DIR, safe_serialization=True)"
        )
    raise UsageError(describe_miss(path, [f"{layout.name}: {layout.expects}" for layout in layouts]))


def describe_miss(path: Path, expected: list[str]) -> str:
    """The message for a directory of unknown layout: the ``expected`` layouts, and the files that are there."""
    listing = sorted(f.name + ("/" if f.is_dir() else "") for f in path.iterdir())
    found = ", ".join(listing[:12]) + (f" and {len(listing) - 12} more" if len(listing) > 12 else "")
    wanted = "\n".join(f"  - {line}" for line in expected)
    return (
        f"checkpoint {path} is not of a known kind; expected one of\n{wanted}\nfound: {found or 'an empty directory'}"
    )


def _with_renamed(files: CheckpointFiles) -> CheckpointFiles:
    """The files with what is read under other names; the screening reports what is wrong with the names."""
    try:
        found = found_renamings(files)
    except (UsageError, OSError):
        return files
    return replace(files, renamed="; ".join(map(str, found)))


def _with_base(files: CheckpointFiles, override: str | None) -> CheckpointFiles:
    """The files with an adapter's base model: the ``override`` (``--base-model``), else the one its config names."""
    if not files.is_adapter:
        if override is not None:
            raise UsageError(f"--base-model {override}: checkpoint {files.root} is a whole model, not an adapter")
        return files
    if not (files.weights / "adapter_model.safetensors").is_file():
        raise UsageError(
            f"{files.weights} has adapter_config.json but no adapter_model.safetensors (pickled adapter_model.bin "
            "files are not opened; convert it with safe_serialization=True)"
        )
    config = read_object(files.weights / "adapter_config.json")
    named = override or config.get("base_model_name_or_path")
    if not named or not isinstance(named, str):
        raise UsageError(
            f"adapter {files.weights} names no base model (base_model_name_or_path is {named!r}); "
            "say where it is with --base-model DIR"
        )
    base, source = _locate_base(named, files, explicit=override is not None)
    return replace(files, base=base, base_source=source)


def _locate_base(named: str, files: CheckpointFiles, *, explicit: bool) -> tuple[str, str]:
    """Directory or hub id of a base model, and where it was found, in words.

    Unless ``explicit``, a relative path starts at the checkpoint, then at the working directory, as transformers and
    peft read it; like an absolute path, it may lead anywhere: a directory gives weights and JSON, never code.
    """
    if "\0" in named or any(len(part) > _LONGEST_PART for part in Path(named).parts):
        raise UsageError(f"base model {named[:60]!r} of adapter {files.weights} is not a valid directory or model name")
    places = _places(named, files, explicit=explicit)
    # For names the system cannot hold, os.path.isdir is False where Path.is_dir raises.
    tried = [place for place in places if os.path.isdir(place)]
    whole = [place for place in tried if has_weights(place) and not has_adapter(place)]
    if whole:
        return str(whole[0]), places[whole[0]] + _beside(whole, places)
    for place in (place for place in tried if has_adapter(place)):
        raise UsageError(
            f"base model {named!r} of adapter {files.weights}: {place} is an adapter itself, and transformers "
            "would load its base in turn; merge it first, or give --base-model DIR"
        )
    if tried:
        raise UsageError(
            f"base model {named!r} of adapter {files.weights}: {tried[0]} has no config.json with "
            "model.safetensors; give another with --base-model DIR"
        )
    if not explicit and _looks_like_hub_id(named) and _in_hub_cache(named):
        return named, "from the local hub cache"
    raise UsageError(
        f"base model {named!r} of adapter {files.weights} was not found (looked at "
        f"{', '.join(os.path.abspath(p) for p in places)} and the local hub cache); give it with --base-model DIR"
    )


def _beside(whole: list[Path], places: Mapping[Path, str]) -> str:
    """That other directories have the base model's name as well, in words; empty where none does."""
    others = [place for place in whole[1:] if place.resolve() != whole[0].resolve()]
    found = [f"{os.path.abspath(place)} {places[place]}" for place in others]
    return f", not the one at {' or '.join(found)}" if found else ""


def _places(named: str, files: CheckpointFiles, *, explicit: bool) -> dict[Path, str]:
    """The directories where a base model may lie, the first one first, each with where its path starts, in words."""
    if explicit:
        return {_at_home(named): "by --base-model"}
    if _at_home(named).is_absolute():
        return {_at_home(named): "as the adapter says"}
    places = {(start / named).resolve(): "relative to the checkpoint" for start in (files.weights, files.root)}
    return {**places, Path(named): "relative to the working directory"}


def _at_home(path: str | Path) -> Path:
    """A path with ~ replaced by the home directory, where that is somebody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _looks_like_hub_id(name: str) -> bool:
    parts = name.split("/")
    return 1 <= len(parts) <= 2 and all(p and p not in (".", "..") for p in parts)


def _in_hub_cache(name: str) -> bool:
    """Whether the hub cache holds the model's config.json; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False
