"""The base class of configuration sections, and field types for sizes and for numbers as YAML files write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# A larger size is taken for a mistake: it would fill memory or never end.
LARGEST = 1_000_000


def as_number(value: Any) -> Any:
    """Convert text such as ``1e-6``, which YAML 1.1 does not recognise as a number, to a float; return other values."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def number_or_auto(least: int) -> Callable[[Any], Any]:
    """A validator of a whole number, or ``auto``: two types of one setting would be refused in two messages.

    Args:
        least: the smallest number.

    Raises:
        ValueError: (the validator) the value is neither.
    """

    def validated(value: Any) -> Any:
        if value != "auto" and (type(value) is not int or not least <= value <= LARGEST):
            raise ValueError(f"Input should be auto, or a whole number between {least} and {LARGEST}")
        return value

    return validated


Size = Annotated[int, Field(ge=1, le=LARGEST)]
PositiveFloat = Annotated[float, BeforeValidator(as_number), Field(gt=0, allow_inf_nan=False)]


class SettingsSection(BaseModel):
    """A configuration section with strict types and no unknown keys; the text below a key is its documentation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def builtin(value: Any) -> Any:
    """Convert a numpy or torch scalar to the Python number that strict fields require; return other values."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
