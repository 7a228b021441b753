"""Chains of additions and subtractions, and worked answers to them in styles that differ in care and in words.

The style is chosen with the first word and kept, so that early tokens decide how long, how varied and how right an
answer is: what makes the entropy-to-go of reasoning models differ between responses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import generator

SIZE = 2**20
STEPS = (7, 11)
# Of each style: how it begins, how often, the chances of a check and of a slip in a step, and its words.
OPENERS = ("first ", "then ", "next ", "now ", "so ", "and ", "ok ", "")
ENDS = (". ", "; ", ", ", " / ")


@dataclass(frozen=True)
class Style:
    """How an answer is written.

    Attributes:
        begins: its first words.
        weight: how often it occurs.
        check, slip: chances of a check and of a wrong result in a step.
        variety: how many of the openers, forms and ends it uses.
    """

    begins: str
    weight: float
    check: float
    slip: float
    variety: int


STYLES = (
    Style("carefully: ", 0.3, 0.5, 0.02, 4),
    Style("well, ", 0.4, 0.15, 0.04, 8),
    Style("quick: ", 0.3, 0.0, 0.09, 2),
)


@dataclass(frozen=True)
class Chain:
    """A start and signed steps, all results between 0 and 99."""

    start: int
    steps: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """The question."""
        return f"{self.start}" + "".join(f"{step:+d}" for step in self.steps) + "=?\n"

    @property
    def answer(self) -> int:
        """The result."""
        return self.start + sum(self.steps)


def chain(index: int) -> Chain:
    """The chain of an index below ``SIZE``.

    Raises:
        IndexError: there is none.
    """
    if not 0 <= index < SIZE:
        raise IndexError(f"chain {index} of {SIZE}")
    rng = generator("chain", index)
    value = start = int(rng.integers(10, 90))
    steps: list[int] = []
    for _ in range(int(rng.integers(*STEPS))):
        step = int(rng.integers(1, 10)) * (1 if rng.random() < 0.5 else -1)
        step = step if 0 <= value + step <= 99 else -step
        steps.append(step)
        value += step
    return Chain(start, tuple(steps))


def solution(problem: Chain, rng: np.random.Generator) -> str:
    """A worked answer in a random style; a slip is carried on, unless the step is checked."""
    style = STYLES[rng.choice(len(STYLES), p=[s.weight for s in STYLES])]
    value, text = problem.start, style.begins
    for step in problem.steps:
        text += OPENERS[rng.integers(0, style.variety)]
        right = value + step
        found = right if rng.random() >= style.slip else max(0, right + int(rng.choice((-2, -1, 1, 2, 10))))
        text += _form(value, step, found, int(rng.integers(0, 1 + style.variety // 2)))
        if rng.random() < style.check:
            text += f" check {found}{-step:+d}={found - step}"
            text += " ok" if found == right else f" no {right}"
            found = right
        text += ENDS[rng.integers(0, max(1, style.variety // 2))]
        value = found
    return f"<think>{text}</think><answer>{value}</answer>"


def _form(value: int, step: int, found: int, form: int) -> str:
    word = "plus" if step > 0 else "minus"
    return (
        f"{value}{step:+d}={found}",
        f"{value} {word} {abs(step)} is {found}",
        f"take {value}, {word} {abs(step)}: {found}",
        f"{value} and {step:+d} makes {found}",
        f"{found} from {value}{step:+d}",
    )[form]


def solved(count: int, *names: str | int) -> list[tuple[str, str]]:
    """(prompt, worked answer) of random chains.

    Args:
        count: number of examples.
        names: of the random stream.
    """
    rng = generator("solved", *names)
    chains = [chain(int(i)) for i in rng.integers(0, SIZE, size=count)]
    return [(one.prompt, solution(one, rng)) for one in chains]


class ChainPrompts:
    """All chains as a set of prompts, made on demand."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Prompt:
        one = chain(index)
        return Prompt(one.prompt, {"answer": str(one.answer)})
