"""The arrays that are stored beside a run's record: damage is found when they are read, each is decoded on demand."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from zipfile import BadZipFile, ZipFile

import numpy as np

_SUFFIX = ".npy"


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
                damaged = archive.testzip()
                self._names = [name.removesuffix(_SUFFIX) for name in archive.namelist()]
        except (BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error) as error:
            raise ValueError(f"no archive of arrays: {error}") from error
        if damaged is not None:
            raise ValueError(f"the array {damaged.removesuffix(_SUFFIX)} is damaged: its checksum does not agree")

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
