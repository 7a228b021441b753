"""Pickles are read as data: nothing they name runs, and a few bytes cost no more than a few bytes."""

from __future__ import annotations

import collections
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints.formats.safe_unpickler import UnpickledObject, unpickle
from tests.unit.checkpoints.strangers import Payload, canary

__all__ = ["canary"]

HEAD = b"\x80\x02"


def everything(module: str, name: str) -> Any:
    """Accept any name, as for a trainer's arguments."""
    return dict if (module, name) == ("collections", "OrderedDict") else UnpickledObject


def nothing(module: str, name: str) -> Any:
    return None


DATA = {
    "state": {0: {"lr": 1e-3, "betas": (0.9, 0.999)}, -1: {}},
    "list": [1, 2**40, -(2**70), True, False, None, b"bytes", "text", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    None: [[], {}, ["one"], {"one": 1}],
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_data_come_back(protocol: int) -> None:
    assert unpickle(pickle.dumps(DATA, protocol=protocol), nothing) == DATA


def test_shared_and_recursive_data_come_back() -> None:
    ring: list[Any] = [[1]]
    ring += [ring[0], ring]
    read = unpickle(pickle.dumps(ring, protocol=2), nothing)
    assert read[0] is read[1] == [1]
    assert read[2] is read


class Settings:
    """An object with attributes, as dataclasses are pickled."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_objects_and_calls_become_stand_ins(protocol: int) -> None:
    record = Settings(path=Path("/a/b"), ordered=collections.OrderedDict(a=1), inner=Settings(b=2))
    read = unpickle(pickle.dumps(record, protocol=protocol), everything)
    assert type(read) is UnpickledObject
    assert read.class_name == f"{__name__}.Settings"
    assert read.inner.b == 2
    assert read.ordered == {"a": 1}
    assert type(read.path) is UnpickledObject
    assert "a" in str(read.path.arguments)
    with pytest.raises(AttributeError):
        _ = read.missing


def test_no_class_is_made_and_no_function_called(canary: Path) -> None:
    for protocol in (2, 4, 5):
        read = unpickle(pickle.dumps([Payload(canary)], protocol=protocol), everything)
        assert read[0].class_name == f"{os.system.__module__}.system"
        assert read[0].arguments == (f"touch {canary}",)


def test_a_name_that_the_caller_rejects() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"it asks for os\.system"):
        unpickle(b"cos\nsystem\n.", nothing)


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"(S'true'\nios\nsystem\n.", "STRING"),
        (b"(\x8c\x04trueios\nsystem\n.", "INST"),
        (b"(cos\nsystem\n\x8c\x04trueo.", "OBJ"),
        (b"cos\nsystem\n)}\x92.", "NEWOBJ_EX"),
        (b"\x82\x01.", "EXT1"),
        (b"Pname\n.", "PERSID"),
        (b"\x96\xff\xff\xff\xff\xff\x0f\x00\x00.", "BYTEARRAY8"),
        (b"\x8f(K\x01\x90.", "EMPTY_SET"),
        (b"(K\x01\x91.", "FROZENSET"),
        (b"I1\n.", "INT"),
        (b"N2.", "DUP"),
        (b"(1.", "POP_MARK"),
        (b"\x97.", "NEXT_BUFFER"),
    ],
)
def test_opcodes_that_are_not_followed(data: bytes, opcode: str) -> None:
    with pytest.raises(Exception, match=f"it uses {opcode}|exceeds|expected"):
        unpickle(b"\x80\x05" + data, everything)


def hashed_for_ever(levels: int) -> bytes:
    """A pair of pairs of pairs … as a key: two to the power of ``levels`` tuples to hash, in four bytes a level."""
    return HEAD + b"})q\x00" + b"0h\x00h\x00\x86q\x00" * levels + b"Ns."


def collide(count: int) -> bytes:
    """Whole numbers that all have one hash, as keys."""
    numbers = ((i * (2**61 - 1)).to_bytes(12, "little") for i in range(count))
    return HEAD + b"}(" + b"".join(b"\x8a\x0c" + number + b"N" for number in numbers) + b"u."


@pytest.mark.parametrize(
    "data",
    [hashed_for_ever(1), hashed_for_ever(200), collide(50_000), HEAD + b"}]Ns.", HEAD + b"}G?\xf0\0\0\0\0\0\0Ns."],
    ids=["tuple", "pairs of pairs", "one hash", "list", "float"],
)
def test_keys_that_could_take_for_ever(data: bytes) -> None:
    before = time.perf_counter()
    with pytest.raises(pickle.UnpicklingError, match="it has a key of type"):
        unpickle(data, everything)
    assert time.perf_counter() - before < 2


def test_the_same_long_arguments_again_and_again_are_not_copied() -> None:
    """50,000 calls with one tuple of 50,000 numbers: copies would be 20 GB."""
    data = HEAD + b"cos\nsystem\nq\x00(" + b"K\x01" * 50_000 + b"tq\x01](" + b"h\x00h\x01R" * 50_000 + b"e."
    calls = unpickle(data, everything)
    assert len(calls) == 50_000
    assert all(call.arguments is calls[0].arguments for call in calls)


def test_deep_nesting_is_only_as_long_as_its_bytes() -> None:
    read = unpickle(HEAD + b"]" * 100_000 + b"a" * 99_999 + b".", everything)
    depth = 0
    while read:
        (read,) = read
        depth += 1
    assert depth == 99_999


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n)\x81}b}b.", "its attributes twice"),
        (b"]}b.", "fills a list as if it were a UnpickledObject"),
        (b"cos\nsystem\n)\x81K\x01K\x01s.", "fills a UnpickledObject as if it were a dict"),
        (b"cos\nsystem\n)\x81K\x01a.", "fills a UnpickledObject as if it were a list"),
        (b"K\x01)R.", "it calls what is no class"),
        (b"cos\nsystem\nK\x01R.", "it calls what is no class"),
        (b"ccollections\nOrderedDict\n]\x85R.", "makes a collections.OrderedDict of other data"),
        (b"K\x01\x86.", "more values than it has"),
        (b"Nr\xff\xff\xff\x7f.", "it uses LONG_BINPUT"),
    ],
)
def test_pickles_that_nobody_writes(data: bytes, message: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=message):
        unpickle(HEAD + data, everything)


@pytest.mark.parametrize("data", [b"", b".", b"N", HEAD + b"h\0.", HEAD + b"t.", HEAD + b"u.", HEAD + b"b."])
def test_damaged_pickles_are_errors(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError, KeyError, pickle.UnpicklingError)):
        unpickle(data, everything)


def test_attributes_of_a_stand_in_call_nothing() -> None:
    """Names that Python's unpickler would look up and call are attributes like others."""
    state = {"__setstate__": 1, "append": 2, "__class__": 3, "arguments": 4}
    data = HEAD + b"cos\nsystem\n)\x81" + pickle.dumps(state, protocol=2)[2:-1] + b"b."
    read = unpickle(data, everything)
    assert type(read) is UnpickledObject
    assert read.attributes == state
    assert read.arguments == ()
    assert read.append == 2
