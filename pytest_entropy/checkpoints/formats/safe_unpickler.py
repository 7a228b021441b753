"""Pickles read without running what they say: every object becomes an inert record, every call a note of it.

Only names that the caller knows are accepted, so that what such a file may speak of is written down in one place.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

# What plain data needs.  LONG_BINPUT, for a place in the table of things to come back to, is bounded below; bytearrays
# of any declared length, persistent classes and extensions are left out.
_OPCODES = (
    "PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET BINPUT LONG_BINPUT POP NONE NEWTRUE NEWFALSE BININT BININT1 "
    "BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND "
    "APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPERSID"
)


class UnpickledObject:
    """Stands for an object: its constructor's arguments, and its attributes."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def unpickle(data: bytes, known: Callable[[str, str], Any]) -> Any:
    """The data in a pickle.

    Args:
        data: the pickle.
        known: from module and name to the class that stands for it, or None to refuse the name.

    Raises:
        Exception: of any kind, for damaged data; a ``pickle.UnpicklingError`` for what is not accepted.
    """
    for opcode, argument, _ in pickletools.genops(data):
        far = opcode.name == "LONG_BINPUT" and not (isinstance(argument, int) and argument <= len(data))
        if far or opcode.name not in _OPCODES.split():
            raise pickle.UnpicklingError(f"it uses {opcode.name}")
    return _Unpickler(io.BytesIO(data), known).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, known: Callable[[str, str], Any]) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        found = self._known(module, name)
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return found

    def persistent_load(self, identity: Any) -> Any:
        return None
