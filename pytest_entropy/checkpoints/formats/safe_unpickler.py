"""Unpickle without importing or calling what a pickle names: objects and calls become :class:`UnpickledObject`.

The opcodes are followed here, not by Python's ``pickle``, in which a few bytes can take hours or all memory: a tuple of
tuples of tuples as a key is hashed for ever, and calls copy the same long arguments again and again.  Here an opcode
costs no more than its own bytes.  A pickle may reference only the names that its caller accepts.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import Any

# Their argument is their value.
_PLAIN = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES".split()  # noqa: SIM905
)
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Whole numbers of any size could be chosen to have one hash.
_LARGEST_KEY = 2**63


class UnpickledObject:
    """Stands in for an object: holds the name of its class, its constructor's arguments and its attributes.

    Attributes:
        class_name: module and name of the class or function that the pickle names.
        arguments: of the constructor or function.
        attributes: the object's, by name; ``getattr`` finds them, too.
    """

    __slots__ = ("arguments", "attributes", "class_name")

    def __init__(self, class_name: str, arguments: tuple[Any, ...]) -> None:
        self.class_name, self.arguments = class_name, arguments
        self.attributes: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        # Slots that are not filled yet are looked up here, too.
        attributes = None if name in UnpickledObject.__slots__ else self.attributes
        if attributes is None or name not in attributes:
            raise AttributeError(name)
        return attributes[name]


class NamedClass:
    """A class or function that the pickle names, with its stand-in."""

    def __init__(self, name: str, stand_in: Any) -> None:
        self.name, self.stand_in = name, stand_in


def unpickle(data: bytes, known: Callable[[str, str], Any]) -> Any:
    """The data in a pickle, with stand-ins for its objects.

    Args:
        data: the pickle.
        known: maps a module and a name to their stand-in: :class:`UnpickledObject`, ``dict`` for a class that is filled
            like one, a function to call, or a plain value; or to None to reject them.

    Raises:
        pickle.UnpicklingError: the pickle uses an opcode or references a name that is not accepted.
        Exception: of any kind, where the data are damaged.
    """
    machine = _Machine(len(data), known)
    for opcode, argument, _ in pickletools.genops(data):
        machine.follow(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """Follows the opcodes of one pickle."""

    def __init__(self, size: int, known: Callable[[str, str], Any]) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._size, self._known = size, known

    def follow(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says."""
        if opcode in _PLAIN:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _TUPLES:
            self.stack.append(self._taken(len(self.stack) - _TUPLES[opcode], tuple))
        else:
            action = _ACTIONS.get(opcode)
            if action is None:
                raise pickle.UnpicklingError(f"it uses {opcode}")
            action(self, argument)

    def _taken(self, start: int, kind: Callable[[list[Any]], Any]) -> Any:
        """The values from ``start`` on, taken from the stack."""
        if start < 0:
            raise pickle.UnpicklingError("it takes more values than it has")
        values = kind(self.stack[start:])
        del self.stack[start:]
        return values

    def nothing(self, argument: Any) -> None:
        """PROTO, FRAME, and STOP, after which no opcode comes."""

    def mark(self, argument: Any) -> None:
        self._marks.append(len(self.stack))

    def remember(self, argument: Any) -> None:
        self._memo[len(self._memo) if argument is None else argument] = self.stack[-1]

    def remember_far(self, argument: Any) -> None:
        # Python's pickle allocates a table up to this index: nobody writes one that is larger than the pickle.
        if argument > self._size:
            raise pickle.UnpicklingError("it uses LONG_BINPUT")
        self.remember(argument)

    def recall(self, argument: Any) -> None:
        self.stack.append(self._memo[argument])

    def drop(self, argument: Any) -> None:
        self.stack.pop()

    def new_dict(self, argument: Any) -> None:
        self.stack.append({})

    def new_list(self, argument: Any) -> None:
        self.stack.append([])

    def to_tuple(self, argument: Any) -> None:
        self.stack.append(self._taken(self._marks.pop(), tuple))

    def set_item(self, argument: Any) -> None:
        self._fill(self._taken(len(self.stack) - 2, list))

    def set_items(self, argument: Any) -> None:
        self._fill(self._taken(self._marks.pop(), list))

    def _fill(self, pairs: list[Any]) -> None:
        target = self._target(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not (key is None or type(key) is str or type(key) is UnpickledObject or _is_small(key)):
                raise pickle.UnpicklingError(f"it has a key of type {type(key).__name__}")
            target[key] = value

    def append(self, argument: Any) -> None:
        values = self._taken(len(self.stack) - 1, list)
        self._target(list).extend(values)

    def appends(self, argument: Any) -> None:
        values = self._taken(self._marks.pop(), list)
        self._target(list).extend(values)

    def _target(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise pickle.UnpicklingError(f"it fills a {type(self.stack[-1]).__name__} as if it were a {kind.__name__}")
        return self.stack[-1]

    def name(self, argument: Any) -> None:
        self._find(*argument.split(" ", 1))

    def name_on_stack(self, argument: Any) -> None:
        self._find(*self._taken(len(self.stack) - 2, tuple))

    def _find(self, module: Any, name: Any) -> None:
        stand_in = self._known(module, name) if type(module) is type(name) is str else None
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {str(module)[:80]}.{str(name)[:80]}")
        called = stand_in is UnpickledObject or callable(stand_in)
        self.stack.append(NamedClass(f"{module}.{name}", stand_in) if called else stand_in)

    def call(self, argument: Any) -> None:
        """REDUCE and NEWOBJ: a stand-in for the object, or the value that a stand-in of the caller's gives."""
        called, arguments = self._taken(len(self.stack) - 2, tuple)
        if type(called) is not NamedClass or type(arguments) is not tuple:
            raise pickle.UnpicklingError("it calls what is no class or function")
        if called.stand_in is UnpickledObject:
            self.stack.append(UnpickledObject(called.name, arguments))
        elif called.stand_in is dict and arguments:
            raise pickle.UnpicklingError(f"it makes a {called.name} of other data")
        else:
            self.stack.append(called.stand_in(*arguments))

    def build(self, argument: Any) -> None:
        state = self.stack.pop()
        target = self._target(UnpickledObject)
        if target.attributes is not None:
            raise pickle.UnpicklingError("it gives an object its attributes twice")
        target.attributes = state if type(state) is dict else {}

    def without_identity(self, argument: Any) -> None:
        """BINPERSID: a tensor's storage, which is elsewhere."""
        self.stack[-1] = None


def _is_small(key: Any) -> bool:
    return type(key) in (int, bool) and abs(key) < _LARGEST_KEY


# Bytearrays of any declared length, persistent classes and extensions are left out.
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "STOP": _Machine.nothing,
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember_far,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "POP": _Machine.drop,
    "EMPTY_DICT": _Machine.new_dict,
    "EMPTY_LIST": _Machine.new_list,
    "TUPLE": _Machine.to_tuple,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.without_identity,
}
