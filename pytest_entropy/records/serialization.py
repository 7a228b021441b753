"""Conversion of records to plain builtins and back: written by field, validated strictly by type annotation."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, Self, TypeVar

# How pydantic validates records: no conversion of text to numbers or of numbers to booleans.
STRICT: Mapping[str, object] = {"strict": True, "allow_inf_nan": False, "arbitrary_types_allowed": True}
# Records of measurements accept NaN, which counts as not measured (:class:`pytest_entropy.records.measured.Measured`).
MEASURED: Mapping[str, object] = {**STRICT, "allow_inf_nan": True}


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Dataclass)


class RecordError(ValueError):
    """A record that was read lacks keys or has values of the wrong type; the message names them."""


def plain(value: object) -> Any:
    """Convert a record, or a value in one, to the types of JSON: mappings, lists, numbers, strings, None.

    Three class variables of a record change its JSON form: with ``OMITS_NONE`` fields that are None are omitted,
    ``KEYS`` maps field names to the keys written for them, and the fields in ``NOT_WRITTEN`` are not written.
    """
    # Most values are these, which are plain already.
    if value is None or type(value) in (str, float, int, bool):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        skipped = getattr(value, "NOT_WRITTEN", ())
        pairs = ((name, getattr(value, name)) for name in _names(type(value)) if name not in skipped)
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
    """Read a record from its JSON form, the inverse of :func:`plain`; unknown keys are ignored.

    Args:
        cls: the record's type.
        record: plain builtins, such as :func:`json.loads` returns.

    Raises:
        RecordError: a required key is missing, or a value has the wrong type.
    """
    try:
        # Through JSON, because pydantic's strict mode accepts only instances of the records when it validates objects.
        return read_text(cls, json.dumps(record))
    except TypeError as error:
        raise RecordError(f"{cls.__name__}: {error}") from None


def read_text(cls: type[R], text: str | bytes) -> R:
    """Read a record from JSON text, which is parsed only once; unknown keys are ignored.

    Args:
        cls: the record's type.
        text: the JSON.

    Raises:
        RecordError: the text is not JSON, a required key is missing, or a value has the wrong type.
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
    """The JSON schema of a record type; it allows further keys."""
    from pydantic.json_schema import GenerateJsonSchema

    class Schema(GenerateJsonSchema):
        def is_instance_schema(self, schema: Any) -> Any:
            return {}

    schema = _adapter(cls).json_schema(schema_generator=Schema)
    for name in getattr(cls, "NOT_WRITTEN", ()):
        schema["properties"].pop(name, None)
    return dict(schema)


def without_nan(record: Dataclass) -> None:
    """Set the fields of a new record that are NaN to None: such a number is not measured."""
    # Fields are all that a record has; its dictionary is read at once, for ten thousand records.
    for name in [name for name, value in vars(record).items() if isinstance(value, float) and value != value]:
        object.__setattr__(record, name, None)


@cache
def _names(cls: type[Dataclass]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


class Stored:
    """A record that is read by itself, as a file or a part of one: it converts itself to its JSON form and back."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_dict(self) -> dict[str, object]:
        """The record's JSON form, as plain builtins."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, record: object) -> Self:
        """Read a record from its JSON form, the inverse of :meth:`to_dict`; unknown keys are ignored.

        Raises:
            RecordError: a required key is missing, or a value has the wrong type.
        """
        return read(cls, record)


@cache
def _adapter(cls: type[R]) -> Any:
    # Slow to import, and a session without experiments reads no record.
    from pydantic import TypeAdapter

    return TypeAdapter(cls)
