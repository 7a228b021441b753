"""A registered reward: a function in TRL's signature, with the properties that settings rely on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# f(prompts, completions, **columns) -> list[float | None], as TRL has it.
PlainReward = Callable[..., Any]


@dataclass(frozen=True)
class NamedReward:
    """A reward that settings refer to by its name.

    Attributes:
        function: in TRL's signature.
        reads_answer: whether every row needs a readable ``answer``; planning rejects prompts without one.
        repeatable: whether the function is deterministic and cheap: every run then calls it a second time, completion
            by completion, and compares.
        right_completion: makes the completion that gives an answer in the function's notation; planning calls the
            function with it, for some rows, and rejects prompts where it does not get ``highest``.  None where the
            function must not be called so.
        highest: the reward of a right completion.

    Raises:
        TypeError: ``function`` is not callable.
    """

    function: PlainReward
    reads_answer: bool = False
    repeatable: bool = False
    right_completion: Callable[[str], str] | None = None
    highest: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError("a reward is a function in TRL's signature: f(prompts, completions, **columns)")
