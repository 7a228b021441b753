"""What a ``torch.save`` file says of itself, looked at before torch is asked to open it (or is even imported)."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.formats.safe_unpickler import UnpickledObject, unpickle
from pytest_entropy.errors import UsageError

# What torch writes per tensor into data.pkl is some hundred bytes; the rest is room for names and settings.
_PICKLE_PER_TENSOR = 4096
_PICKLE_BASE = 2**20
# Where the names in an optimizer's file come from; torch then allows a short list of them.
_HARMLESS = ("torch", "collections", "_codecs", "numpy", "torchao")


def screen_archive(path: Path, *, tensors: int) -> None:
    """Refuse a file that is none by torch.save, unpacks to more than it has, or names code.

    Args:
        path: the file.
        tensors: how many tensors a file for this model may describe; bounds the part that is parsed.

    Raises:
        UsageError: says which.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    require_honest(path, size, path, tensors=tensors)


def require_honest(where: Path | str, size: int, file: Path | io.BytesIO, *, tensors: int) -> None:
    """The same for an open file of ``size`` bytes, which messages call ``where``."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _require_small(where, size, entries, tensors)
            strange = {name for entry in entries if entry.filename.endswith(".pkl") for name in _names(archive, entry)}
    except UsageError:
        raise
    # Whatever a damaged archive or pickle makes Python's readers raise.
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RuntimeError, IndexError) as error:
        raise UsageError(
            f"{where} is not a file by torch.save, or it is truncated or damaged ({str(error)[:120]}); files of torch "
            "1.5 and older are to be saved again by a newer torch"
        ) from error
    if strange:
        raise UsageError(asks_for(where, min(strange)))


def read_outline(path: Path) -> Any:
    """What a screened file holds, a record without content in the place of every tensor; None where torch is needed.

    Nothing is built but tables, lists and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
            return unpickle(archive.read(name), _stand_in)
    # Whatever it was, whoever reads the file in earnest says it better.
    except Exception:
        return None


def _stand_in(module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
        return dict
    return UnpickledObject if module.partition(".")[0] in _HARMLESS else None


def asks_for(where: Path | str, name: str) -> str:
    """The message about a file that names code."""
    return f"{where} cannot be read without running code from it: it asks for {name}; not opened"


def _require_small(where: Path | str, size: int, entries: list[zipfile.ZipInfo], tensors: int) -> None:
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UsageError(f"{where} holds compressed entries, which torch.save never writes: not unpacked")
    outside = [entry.filename for entry in entries if ".." in Path(entry.filename).parts or entry.filename[:1] in "/\\"]
    if outside:
        raise UsageError(f"{where} holds an entry that names a place outside it ({outside[0][:60]!r}): not unpacked")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise UsageError(f"{where} has {size} bytes and declares {unpacked} unpacked: not unpacked")
    parsed = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    limit = _PICKLE_BASE + _PICKLE_PER_TENSOR * tensors
    if parsed > limit:
        raise UsageError(
            f"{where} describes its tensors in {parsed} bytes, more than the {limit} this model's could take: it is "
            "of another model, or not an optimizer's state"
        )


def _names(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[str]:
    """Names of code a pickle asks for that no optimizer's state needs; the pickle is read, not run.

    A name put together in a roundabout way is not seen here; torch, which reads with ``weights_only``, refuses it.
    """
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(archive.read(entry)):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
        elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
            module, name = texts[-2:]
        else:
            if isinstance(argument, str):
                texts.append(argument)
            elif opcode.name not in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                texts.clear()
            continue
        if module.partition(".")[0] not in _HARMLESS:
            yield f"{module}.{name}"
