"""Unpickle without importing or calling anything: objects and calls become :class:`UnpickledObject`.

A pickle may reference only the names that its caller accepts; any other name is an error.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

# The opcodes of plain data.  LONG_BINPUT, which allocates the memo table up to its index, is bounded below; bytearrays
# of any declared length, persistent classes and extensions are left out.
_OPCODES = (
    "PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET BINPUT LONG_BINPUT POP NONE NEWTRUE NEWFALSE BININT BININT1 "
    "BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND "
    "APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPERSID"
)


class UnpickledObject:
    """Stands in for an object: holds its constructor's arguments and its attributes."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def unpickle(data: bytes, known: Callable[[str, str], Any]) -> Any:
    """The data in a pickle, with stand-ins for its objects.

    Args:
        data: the pickle.
        known: maps a module and a name to their stand-in (mostly :class:`UnpickledObject`), or to None to reject them.

    Raises:
        pickle.UnpicklingError: the pickle uses an opcode or references a name that is not accepted.
        Exception: of any kind, where the data are damaged.
    """
    for opcode, argument, _ in pickletools.genops(data):
        oversized = opcode.name == "LONG_BINPUT" and not (isinstance(argument, int) and argument <= len(data))
        if oversized or opcode.name not in _OPCODES.split():
            raise pickle.UnpicklingError(f"it uses {opcode.name}")
    return _Unpickler(io.BytesIO(data), known).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, known: Callable[[str, str], Any]) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        stand_in = self._known(module, name)
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return stand_in

    def persistent_load(self, identity: Any) -> Any:
        return None
