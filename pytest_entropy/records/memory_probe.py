"""``memory_probes.json``: what the small probes of memory scaling held and took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pytest_entropy.records.serialization import STRICT, Stored

# What varies over the costs that are fitted together.
Axis = Literal["B_E", "G", "length"]


def cost_in_words(quantity: str, cost: float) -> str:
    """What one more prompt, response or token costs.

    Args:
        quantity: ``memory``, or ``seconds``.
        cost: in MiB, or in seconds, which are said in milliseconds.
    """
    return f"{cost:.3g} MiB" if quantity == "memory" else f"{1e3 * cost:.3g} ms"


@dataclass(frozen=True, kw_only=True)
class MemoryProbe(Stored):
    """One probe: a run whose memory was counted.

    Attributes:
        axis: what varies over the probes that belong together.
        B_E, G, max_new_tokens: its sizes.
        length_mean: mean length of its responses in tokens.
        peak_mb: the most that the run's tensors held at once, beyond what was held before it, in MiB.
        seconds: wall time of the same run uncounted, without the self-check; None where it was not timed.
    """

    axis: Axis
    B_E: int
    G: int
    max_new_tokens: int
    length_mean: float
    peak_mb: float
    seconds: float | None = None

    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True, kw_only=True)
class MemoryProbes(Stored):
    """All probes of an experiment, and how their memory was counted, in words."""

    counted: str
    probes: list[MemoryProbe]

    __pydantic_config__: ClassVar = STRICT
