"""The setting ``reward``: one reward or a weighted sum of several, as text (``"a,b.py:f*0.2"``) or as a list."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pytest_entropy.settings.fields import SettingsSection, as_number


class RewardSection(SettingsSection):
    """One term of a weighted sum of rewards."""

    name: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0


def _rewards(value: Any) -> Any:
    """Normalise ``"a, b.py:f*0.2"``, or a list of such texts or of ``{name, weight}``, to a list of the latter."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list) or not value:
        raise ValueError("name a reward, several as a,b*0.5, or give a list of {name: …, weight: …}")
    terms = [_reward(item) for item in value]
    names = [term["name"] for term in terms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"reward {twice!r} is named twice; give it once, with its weight")
    return terms


def names_a_weight(value: Any) -> bool:
    """Whether a reward setting, as it was given, says the weight of a reward itself."""
    if isinstance(value, str):
        value = value.split(",")
    items = value if isinstance(value, list) else []
    return any("*" in item if isinstance(item, str) else isinstance(item, dict) and "weight" in item for item in items)


def _reward(item: Any) -> dict[str, object]:
    if isinstance(item, RewardSection):
        item = item.model_dump()
    if isinstance(item, str):
        name, star, weight = item.rpartition("*")
        if not star:
            name, weight = item, "1"
        try:
            item = {"name": name.strip(), "weight": float(weight)}
        except ValueError:
            raise ValueError(f"the weight in {item!r} is not a number; write NAME*0.5") from None
    if not isinstance(item, dict) or not {"name"} <= set(item) <= {"name", "weight"}:
        raise ValueError(f"a reward is a name or {{name: …, weight: …}}, not {item!r}")
    name, weight = item["name"], as_number(item.get("weight", 1.0))
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a reward must have a name that is not empty")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight == 0:
        raise ValueError(f"the weight of reward {name!r} must be a finite number other than 0, not {weight!r}")
    return {"name": name, "weight": float(weight)}


Rewards = Annotated[list[RewardSection], BeforeValidator(_rewards)]
