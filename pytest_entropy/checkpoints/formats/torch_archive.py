"""Check the zip archive and the pickle of a ``torch.save`` file, before torch opens it or is imported."""

from __future__ import annotations

import io
import pickletools
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.formats.safe_unpickler import UnpickledObject, unpickle
from pytest_entropy.errors import UsageError

# torch writes some hundred bytes per tensor into data.pkl; the rest is room for names and settings.
_PICKLE_PER_TENSOR = 4096
_PICKLE_BASE = 2**20
# Packages that an optimizer's file may reference; torch's weights_only then allows a short list of their names.
_HARMLESS = ("torch", "collections", "_codecs", "numpy", "torchao")


def screen_archive(path: Path, *, tensors: int) -> None:
    """Reject a file not written by ``torch.save``, one that declares more bytes than it holds, or one whose pickle
    references importable code.

    Args:
        path: the file.
        tensors: number of tensors that a file for this model may describe at most; bounds the bytes parsed.

    Raises:
        UsageError: says which of these it is.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    require_safe_archive(path, size, path, tensors=tensors)


def require_safe_archive(where: Path | str, size: int, file: Path | io.BytesIO, *, tensors: int) -> None:
    """Check a ``torch.save`` archive as :func:`screen_archive` does, wherever its bytes are.

    Args:
        where: what messages call the archive.
        size: of the archive, in bytes.
        file: path or bytes of the archive.
        tensors: number of tensors that it may describe at most.

    Raises:
        UsageError: ``torch.save`` did not write it, it declares more bytes than it holds, or its pickle references
            importable code.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _require_small(where, size, entries, tensors)
            code = {name for entry in entries if entry.filename.endswith(".pkl") for name in _names(archive, entry)}
    except UsageError:
        raise
    # The exceptions of zipfile and pickletools for a damaged archive or pickle.
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RuntimeError, IndexError) as error:
        raise UsageError(
            f"{where} is not a file by torch.save, or it is truncated or damaged ({str(error)[:120]}); files of torch "
            "1.5 and older must be saved again with a newer torch"
        ) from error
    if code:
        raise UsageError(code_refusal(where, min(code)))


def pickle_of_archive(where: Path | str, data: bytes) -> bytes:
    """The pickle in a ``torch.save`` archive that describes no tensors; it is not unpickled.

    Args:
        where: what messages call the archive.
        data: the archive's bytes.

    Raises:
        UsageError: ``torch.save`` did not write the archive, or it is compressed, damaged, or declares more bytes than
            it holds.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_small(where, len(data), archive.infolist(), tensors=0)
            (name,) = (entry for entry in archive.namelist() if entry.endswith("/data.pkl"))
            return archive.read(name)
    except UsageError:
        raise
    # As above; ValueError where no entry, or several, are the pickle.
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RuntimeError) as error:
        raise UsageError(f"{where} is not a file by torch.save of torch 1.6 or later, or it is damaged") from error


def read_outline(path: Path) -> Any:
    """The object in a screened file, with an empty record in place of every tensor; None where only torch can read it.

    Only dictionaries, lists and plain values are built.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
            return unpickle(archive.read(name), _stand_in)
    # The full read of the file, which follows, reports the error.
    except Exception:
        return None


def _stand_in(module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
        return dict
    return UnpickledObject if module.partition(".")[0] in _HARMLESS else None


def code_refusal(where: Path | str, name: str) -> str:
    """The message for a file whose pickle references importable code: ``name``."""
    return f"{where} cannot be read without running code from it: it asks for {name}; not opened"


def torchao_refusal(path: Path | str) -> str:
    """The message for torchao's quantised optimizer state, with the command that converts the file to torch's own."""
    script = (
        "import sys, torch, torchao.optim; from torch.utils._python_dispatch import is_traceable_wrapper_subclass; "
        "path = sys.argv[1]; record = torch.load(path, map_location='cpu'); "
        "record['state'] = {i: {k: v.dequantize() if is_traceable_wrapper_subclass(v) else v for k, v in e.items()} "
        "for i, e in record['state'].items()}; "
        # What tells AdamW from Adam with L2 decay, which torchao's groups do not say.
        "[g.update(maximize=False, decoupled_weight_decay=True) for g in record['param_groups']]; "
        "torch.save(record, path)"
    )
    return (
        f"{path} holds torchao's quantised state, which only torchao can read. If its AdamW wrote it (AdamW8bit, "
        "AdamW4bit, AdamWFp8; its Adam without the W is another optimizer), convert it once, in place, with\n"
        f"  python -c {shlex.quote(script)} {shlex.quote(str(path))}"
    )


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
    """Importable names that a pickle references and that no optimizer's state needs; the pickle is not executed.

    A name that the pickle assembles indirectly is not seen here; torch's ``weights_only`` rejects it.
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
