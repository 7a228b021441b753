"""The arrays that are stored beside a run's record: damage is found when they are read, each is decoded on demand."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

_SUFFIX = ".npy"
_NO_ARCHIVE = (BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error)


def _damage(archive: ZipFile, name: str) -> str:
    """What is wrong with an array's bytes; empty if they are those that were written, and begin as an array does."""
    try:
        content = archive.read(name)
    except BadZipFile:
        return "its checksum does not agree"
    return "" if content.startswith(MAGIC_PREFIX) else "it holds no array"


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of an ``.npz`` archive by name; most runs are read by checks that need none of them.

    Args:
        content: the archive's bytes.

    Raises:
        ValueError: the bytes are not those of an archive, or a checksum in it does not agree.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._decoded: dict[str, np.ndarray] = {}
        try:
            with ZipFile(io.BytesIO(content)) as archive:
                damage = {name.removesuffix(_SUFFIX): _damage(archive, name) for name in archive.namelist()}
        except _NO_ARCHIVE as error:
            raise ValueError(f"no archive of arrays: {error}") from error
        self._names = list(damage)
        for name, what in damage.items():
            if what:
                raise ValueError(f"the array {name} is damaged: {what}")

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._decoded:
            if name not in self._names:
                raise KeyError(name)
            with np.load(io.BytesIO(self._content), allow_pickle=False) as archive:
                self._decoded[name] = archive[name]
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
