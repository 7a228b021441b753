"""Stored arrays: decoded when asked for, and damaged bytes are found before anybody asks."""

from __future__ import annotations

import io
from unittest.mock import Mock
from zipfile import ZipFile

import numpy as np
import pytest

from pytest_entropy.records.arrays import StoredArrays

ARRAYS = {"ranks": np.arange(60.0).reshape(12, 5), "floor": np.array(0.5), "steps": np.array([-1, 2])}


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **ARRAYS)  # type: ignore[arg-type]
    return stream.getvalue()


def test_the_arrays_are_those_of_the_archive() -> None:
    arrays = StoredArrays(archive())
    assert list(arrays) == list(ARRAYS)
    assert len(arrays) == 3
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
    assert arrays.get("other") is None


def test_an_array_is_decoded_when_it_is_asked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = Mock(wraps=np.load)
    monkeypatch.setattr(np, "load", decoding)
    arrays = StoredArrays(archive())
    assert "ranks" in list(arrays)
    assert decoding.call_count == 0
    assert arrays["ranks"] is arrays["ranks"]
    assert decoding.call_count == 1


@pytest.mark.parametrize("content", [b"", b"not a zip", archive()[:-30], archive()[100:]])
def test_what_is_no_archive_is_an_error_at_once(content: bytes) -> None:
    with pytest.raises(ValueError, match="no archive of arrays"):
        StoredArrays(content)


def test_any_changed_byte_of_the_numbers_is_an_error_at_once() -> None:
    whole = archive()
    start = whole.index(b"ranks.npy") + len("ranks.npy") + 20
    for place in range(start, start + 40, 3):
        content = bytearray(whole)
        content[place] ^= 0xFF
        with pytest.raises(ValueError, match=r"no archive of arrays|the array ranks is damaged"):
            StoredArrays(bytes(content))


def test_what_is_no_array_is_an_error_at_once_whatever_its_checksum_says() -> None:
    stream = io.BytesIO(archive())
    with ZipFile(stream, "a") as more:
        more.writestr("junk.npy", b"junk")
    with pytest.raises(ValueError, match="the array junk is damaged: it holds no array"):
        StoredArrays(stream.getvalue())
