"""Word problems with their answers, made on demand: problem(i) for 0 <= i < SIZE, all different."""

from __future__ import annotations

from dataclasses import dataclass

NAMES = ("Tom", "Ann", "Sam", "Eva", "Leo", "Mia", "Ben", "Zoe", "Max", "Ida", "Jon", "Amy")
THINGS = ("apples", "books", "coins", "pens", "cards", "shells", "stamps", "eggs")
TEMPLATES = (
    ("{name} has {a} {things} and gets {b} more. How many now?", "+"),
    ("{name} finds {a} {things}, then {b} more. How many in all?", "+"),
    ("{name} has {c} {things} and loses {b}. How many are left?", "-"),
    ("There are {c} {things}. {name} takes {b}. How many remain?", "-"),
)
FIRST, COUNT = 2, 12
SIZE = len(TEMPLATES) * len(NAMES) * len(THINGS) * COUNT * COUNT
# Coprime with SIZE (a product of 2s and 3s), so that i -> i * STRIDE mod SIZE is a permutation.
STRIDE = 32_771


@dataclass(frozen=True)
class Problem:
    """A word problem and its equation: ``left sign right = answer``."""

    prompt: str
    left: int
    sign: str
    right: int

    @property
    def answer(self) -> int:
        """The correct answer, never negative."""
        return self.left + self.right if self.sign == "+" else self.left - self.right


def parts(index: int) -> Problem:
    """The text and the equation of problem ``index``; every index gives another problem, unlike its neighbours.

    Raises:
        IndexError: the index is outside 0 … SIZE - 1.
    """
    if not 0 <= index < SIZE:
        raise IndexError(f"problem {index} of {SIZE}")
    rest = index * STRIDE % SIZE
    rest, a = divmod(rest, COUNT)
    rest, b = divmod(rest, COUNT)
    rest, thing = divmod(rest, len(THINGS))
    template, name = divmod(rest, len(NAMES))
    a, b = a + FIRST, b + FIRST
    text, sign = TEMPLATES[template]
    # A subtraction starts from the sum, so that nothing becomes negative.
    prompt = text.format(name=NAMES[name], things=THINGS[thing], a=a, b=b, c=a + b) + "\n"
    return Problem(prompt, a if sign == "+" else a + b, sign, b)


def problem(index: int) -> tuple[str, str]:
    """(prompt, answer) of problem ``index``.

    Raises:
        IndexError: the index is outside 0 … SIZE - 1.
    """
    whole = parts(index)
    return whole.prompt, str(whole.answer)
