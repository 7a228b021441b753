"""Records to plain builtins and back: written by their fields, read strictly by their annotations."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, Self, TypeVar

# How pydantic reads the records of this folder: no number from a text, no boolean from a number.
STRICT: Mapping[str, object] = {"strict": True, "allow_inf_nan": False, "arbitrary_types_allowed": True}
# Records of measurements: NaN arrives, and counts as not measured (:class:`pytest_entropy.records.measured.Measured`).
MEASURED: Mapping[str, object] = {**STRICT, "allow_inf_nan": True}


class Record(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Record)


class RecordError(ValueError):
    """What was read is not the record it should be; the message names the keys."""


def plain(value: object) -> Any:
    """A record, or what it is made of, as JSON has it: mappings, lists, numbers, texts, None.

    A record with ``OMITS_NONE`` leaves out what was not measured; ``KEYS`` has the keys of fields that are called
    otherwise there.  Fields of ``NOT_WRITTEN`` stay where they are.
    """
    if is_dataclass(value) and not isinstance(value, type):
        skipped = getattr(value, "NOT_WRITTEN", ())
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value) if f.name not in skipped)
        sparse, keys = getattr(value, "OMITS_NONE", False), getattr(value, "KEYS", {})
        return {keys.get(name, name): plain(item) for name, item in pairs if not (sparse and item is None)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | array):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        # numpy's arrays and scalars.
        return value.tolist()
    return value


def read(cls: type[R], record: object) -> R:
    """The record that :func:`plain` wrote; keys it does not know are left aside, absent ones are as not measured.

    Raises:
        RecordError: a key without which there is no such record is missing, or a value is of another type.
    """
    try:
        # As JSON, where lists are lists and records are mappings: a strict reading of objects wants instances.
        return read_text(cls, json.dumps(record))
    except TypeError as error:
        raise RecordError(f"{cls.__name__}: {error}") from None


def read_text(cls: type[R], text: str | bytes) -> R:
    """:func:`read` of the record's JSON itself, which is parsed once.

    Raises:
        RecordError: as :func:`read`; or it is not JSON.
    """
    from pydantic import ValidationError

    try:
        record: R = _adapter(cls).validate_json(text)
        return record
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"])) or cls.__name__
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise RecordError(f"{key}: {first['msg']}{more}") from None


def json_schema(cls: type[R]) -> dict[str, object]:
    """The JSON schema of a record, which allows further keys."""
    from pydantic.json_schema import GenerateJsonSchema

    class Schema(GenerateJsonSchema):
        def is_instance_schema(self, schema: Any) -> Any:
            return {}

    found: dict[str, Any] = _adapter(cls).json_schema(schema_generator=Schema)
    for name in getattr(cls, "NOT_WRITTEN", ()):
        found["properties"].pop(name, None)
    return found


class Stored:
    """A record that is a file, or a part of one that is read by itself: it owns both directions of its wire form."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_dict(self) -> dict[str, object]:
        """Plain builtins for JSON."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, record: object) -> Self:
        """The inverse of :meth:`to_dict`; keys that it does not know are left aside.

        Raises:
            RecordError: a key without which there is no such record is missing, or a value is of another type.
        """
        return read(cls, record)


@cache
def _adapter(cls: type[R]) -> Any:
    # Slow to import, and a session without experiments reads no record.
    from pydantic import TypeAdapter

    return TypeAdapter(cls)
