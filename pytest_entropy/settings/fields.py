"""What sections of a configuration are made of: their base, and numbers as YAML files write them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Beyond this a size was not meant; it would fill memory or never end.
LARGEST = 1_000_000


def as_number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-6`` (no point, no sign) as text; a number was meant."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


Size = Annotated[int, Field(ge=1, le=LARGEST)]
PositiveFloat = Annotated[float, BeforeValidator(as_number), Field(gt=0, allow_inf_nan=False)]


class SettingsSection(BaseModel):
    """A section: its keys and no others, of their own types; the text below a key is its line in the documentation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def builtin(value: Any) -> Any:
    """A scalar of numpy or torch as Python's own, which strict fields want."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
