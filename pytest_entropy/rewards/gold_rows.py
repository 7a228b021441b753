"""Expected answers of a set that a built-in reward would read wrong or not at all, each with its row and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards.answers import is_any, read_number
from pytest_entropy.rewards.gold import NoGold, accepted_answers, is_solution, shown

# Columns with the choices of a question, and of Countdown with the numbers of an equation.
CHOICES = ("choices", "options", "endings", "answer_choices", "candidates", "mc_options")
NUMBERS = ("nums", "numbers")
# Texts of missing values, in lower case; "NA" and "n/a" are rather answers.
_ABSENT = frozenset({"nan", "none", "null", "<na>", "nat"})
_FIELDS_NAMED = 4


def misread_answers(rows: Sequence[Prompt], looked_at: Iterable[int]) -> str | None:
    """The message about answers that cannot be read, or that are not what a completion says, None if there are none.

    Args:
        rows: the prompts, each with an answer.
        looked_at: indices of the rows that are read.
    """
    some = list(looked_at)
    return unreadable(rows, some) or _solutions(rows, some) or _indices(rows, some) or _equations(rows, some)


def unreadable(rows: Sequence[Prompt], looked_at: Iterable[int]) -> str | None:
    """The message about answers that cannot be read among the rows looked at, None if all can.

    Args:
        rows: the prompts.
        looked_at: indices of the rows that are read.
    """
    first, fields, bad, seen = "", "", 0, 0
    for n in looked_at:
        seen += 1
        try:
            accepted_answers(rows[n].columns.get("answer"))
        except NoGold as reason:
            fields = fields if first else _fields(rows[n])
            first = first or f"{place(rows, n)}: {reason}"
            bad += 1
    if not bad:
        return None
    return (
        f"cannot read the answer of {bad} of {seen} rows (the first: {first}); give text, a number or a list of "
        f"accepted answers, or name the field that holds it with prompts.answer_column, dotted where it is nested"
        f"{fields}"
    )


def solutions_in(rows: Sequence[Prompt], looked_at: Iterable[int]) -> list[int]:
    """Indices of the rows whose answers are long texts without a notation that marks the answer.

    Args:
        rows: the prompts, whose answers can be read.
        looked_at: indices of the rows that are read.
    """
    return [n for n in looked_at if all(map(is_solution, accepted_answers(rows[n].columns.get("answer"))))]


def absent_in(rows: Sequence[Prompt], looked_at: Iterable[int]) -> list[int]:
    """Indices of the rows whose answers are texts by which tables write missing values, such as "nan".

    Args:
        rows: the prompts.
        looked_at: indices of the rows that are read.
    """
    answers = ((n, rows[n].columns.get("answer")) for n in looked_at)
    return [n for n, answer in answers if isinstance(answer, str) and answer.strip().lower() in _ABSENT]


def place(rows: Sequence[Prompt], n: int) -> str:
    """A row as messages call it.

    Args:
        rows: the prompts.
        n: its index.
    """
    return f"row {n + 1}, prompt {str(rows[n].content)[:60]!r}"


def _fields(row: Prompt) -> str:
    """The fields of a struct without an answer, as ``prompts.answer_column`` takes them."""
    gold = row.columns.get("answer")
    if not isinstance(gold, Mapping):
        return ""
    column = next((name for name, value in row.columns.items() if value is gold and name != "answer"), "answer")
    named = [f"{column}.{key}" for key, value in gold.items() if isinstance(value, str | int | float | list | tuple)]
    # A list of accepted answers before anything else.
    named.sort(key=lambda name: not isinstance(gold[name.removeprefix(f"{column}.")], list | tuple))
    return f" ({', '.join(named[:_FIELDS_NAMED])})" if named else ""


def _solutions(rows: Sequence[Prompt], some: Sequence[int]) -> str | None:
    """Most answers are whole solutions, which no completion repeats word by word."""
    found = solutions_in(rows, some)
    if not found or 2 * len(found) < len(some):
        return None
    return (
        f"finds no answer in the answer column of {len(found)} of {len(some)} rows (the first: "
        f"{place(rows, found[0])}): it is a long text, or code, in which no notation (<answer>, ####, "
        "\\boxed, 'Answer: ') marks the answer; name another column with prompts.answer_column, or a reward of your "
        "own with --reward"
    )


def _indices(rows: Sequence[Prompt], some: Sequence[int]) -> str | None:
    """All answers are indices of choices, which completions may call by letter, by text or by number."""
    column = next((name for name in CHOICES if name in rows[some[0]].columns), None)
    if column is None:
        return None
    named = False
    for n in some:
        choices = _choices(rows[n].columns.get(column))
        number = _whole(rows[n].columns.get("answer"))
        if number is None or not 0 <= number <= len(choices):
            return None
        accepted = accepted_answers(rows[n].columns["answer"])
        named = named or not any(is_any(str(choice), accepted) for choice in choices)
    if not named:
        return None
    return (
        f"cannot tell what the answer {shown(rows[some[0]].columns['answer'])} of {place(rows, some[0])}, means: all "
        f"are an index of the column {column!r}; give the letter or the text of the choice that completions are to "
        f"say, or remove {column!r} if they are to say the number"
    )


def _choices(value: Any) -> list[Any]:
    """The choices of a question, and their labels where it has any."""
    if isinstance(value, Mapping):
        return [one for inner in value.values() if isinstance(inner, list | tuple) for one in inner]
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "dtype") else []


def _whole(value: Any) -> int | None:
    """A whole number, also as text, None for anything else."""
    number = None if isinstance(value, bool) else read_number(str(value))
    return None if number is None or number[1] or number[0] != int(number[0]) else int(number[0])


def _equations(rows: Sequence[Prompt], some: Sequence[int]) -> str | None:
    """The answers are the targets of equations, which completions are to find."""
    first = rows[some[0]].columns
    column = next((name for name in NUMBERS if isinstance(first.get(name), list | tuple)), None)
    if column is None or "target" not in first or str(first["target"]) != str(first.get("answer")):
        return None
    return (
        f"would compare the equation of a completion with its target ({place(rows, some[0])}: "
        f"{shown(first['target'])}, to be made of the column {column!r}): name a reward that evaluates equations "
        "with --reward"
    )
