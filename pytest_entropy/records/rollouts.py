"""``rollouts.json``: the prompts of a run whose entropy falls and rises most along the update, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pytest_entropy.records.serialization import STRICT, Stored

Extreme = Literal["lowest", "highest"]
# Prompts at each end.
SHOWN = 3


@dataclass(frozen=True)
class Response:
    """A response as text, shortened, with control characters escaped; its reward, None where it was not computed."""

    text: str
    reward: float | None = None


@dataclass(frozen=True)
class PromptRollouts:
    """A prompt with its responses.

    Attributes:
        prompt: its text, shortened.
        s_n: its scalar in the run, per unit of eta.
        extreme: at which end of the run's s_n it lies.
        responses: some of its responses.
        answer: what rewards compare with, shortened: its answer, or its columns; empty where it has none.
    """

    prompt: str
    s_n: float
    extreme: Extreme
    responses: list[Response] = field(default_factory=list)
    answer: str = ""


@dataclass(frozen=True, kw_only=True)
class ExtremeRollouts(Stored):
    """The prompts at both ends of a run's s_n, lowest first; ``run`` is the run's number at its ``B_E``."""

    B_E: int
    run: int
    eta: float
    unit: str
    prompts: list[PromptRollouts]

    __pydantic_config__: ClassVar[object] = STRICT


def extremes(s: Sequence[float], shown: int = SHOWN) -> list[tuple[int, Extreme]]:
    """Indices of the lowest and of the highest scalars, each end from its extreme on; no index twice.

    >>> extremes([3.0, -1.0, 2.0, 5.0, 0.0], shown=2)
    [(1, 'lowest'), (4, 'lowest'), (3, 'highest'), (0, 'highest')]

    Args:
        s: s_n ``[B_E]``.
        shown: number of indices at each end.
    """
    order = sorted(range(len(s)), key=lambda n: s[n])
    each = min(shown, len(order) // 2)
    lowest: list[tuple[int, Extreme]] = [(n, "lowest") for n in order[:each]]
    return lowest + [(n, "highest") for n in order[::-1][:each]]
