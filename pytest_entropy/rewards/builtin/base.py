"""What a reward with a name is: a function in TRL's signature, and what may be relied on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# f(prompts, completions, **columns) -> list[float | None], as TRL has it.
PlainReward = Callable[..., Any]


@dataclass(frozen=True)
class NamedReward:
    """A reward that settings know by its name.

    Attributes:
        function: in TRL's signature.
        reads_answer: whether every row needs an ``answer`` that can be read; refused while planning where one is not.
        repeatable: whether it gives the same for the same completion again, for nothing: then every run asks it twice,
            the second time completion by completion, and compares.

    Raises:
        TypeError: not a function.
    """

    function: PlainReward
    reads_answer: bool = False
    repeatable: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError("a reward is a function in TRL's signature: f(prompts, completions, **columns)")
