"""Columns whose name says that they hold expected answers: those that no reward reads, and those that disagree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.rows import nested_column
from pytest_entropy.rewards.answers import is_any
from pytest_entropy.rewards.arguments import NOT_COLUMNS
from pytest_entropy.rewards.gold import NoGold, accepted_answers, is_solution, shown
from pytest_entropy.rewards.gold_rows import CHOICES

# Names in lower case without punctuation: "Correct Answer" and correct_answer are one.  The first are the surest.
NAMES = (
    "answer", "groundtruth", "finalanswer", "expectedanswer", "correctanswer", "goldanswer", "referenceanswer",
    "answers", "gold", "goldens", "goldenanswers", "target", "targets", "solution", "solutions", "answerkey",
    "reference", "refanswer", "truth", "groundtruths", "goldtarget", "rewardmodel", "verificationinfo",
    "expectedoutput", "expected", "correct", "label", "labels", "output", "outputs", "response", "responses",
    "completion", "chosen", "canonicalsolution", "answeridx", "answerindex", "correctoption", "correctchoice", "cop",
    "key", "gt", "ans", "result", "value",
)  # fmt: skip
# Of these, two that hold different answers are worth a word.
_SURE = frozenset(NAMES[: NAMES.index("answerkey")])
# Rows that are compared.
COMPARED = 50


def is_gold_name(name: str) -> bool:
    """Whether a column's name says that it holds expected answers."""
    return _plain(name) in NAMES


def gold_columns(prompts: Sequence[Prompt]) -> list[str]:
    """The columns that may hold expected answers, the surest first; of structs their fields, dotted.

    Args:
        prompts: of which the first few are looked at.
    """
    found: dict[str, int] = {}
    for prompt in prompts[:COMPARED]:
        for name, value in prompt.columns.items():
            for dotted, inner in _with_fields(str(name), value):
                # "completion" is no argument of rewards, but an answer column may be called so.
                if dotted not in NOT_COLUMNS - {"completion"} and inner is not None and is_gold_name(_last(dotted)):
                    found.setdefault(dotted, NAMES.index(_plain(_last(dotted))))
    return sorted(found, key=lambda name: found[name])


def disagreement(prompts: Sequence[Prompt]) -> str | None:
    """What says that another column than ``answer`` holds other answers, None if none does.

    Args:
        prompts: of which the first few are compared.
    """
    for name in gold_columns(prompts):
        if name == "answer" or _plain(_last(name)) not in _SURE:
            continue
        compared, other, first = 0, 0, ""
        for n, prompt in enumerate(prompts[:COMPARED], start=1):
            mine, theirs = prompt.columns.get("answer"), nested_column(prompt.columns, name)
            same = _agree(mine, theirs)
            compared += same is not None
            if same is False:
                other += 1
                first = first or f"row {n}: {shown(mine)} and {shown(theirs)}"
        if other:
            return f"the column {name!r} holds another answer in {other} of {compared} rows ({first})"
    return None


def _agree(mine: Any, theirs: Any) -> bool | None:
    """Whether two expected answers have a form in common; None where one cannot be read, or is a whole solution."""
    try:
        first, second = accepted_answers(mine), accepted_answers(theirs)
    except NoGold:
        return None
    if any(is_solution(forms) for forms in (*first, *second)):
        return None
    return any(is_any(form, first) for forms in second for form in forms)


def _with_fields(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """A column, or the fields of one that is a struct with such a field."""
    if not isinstance(value, Mapping):
        return [(name, value)]
    # Beside choices they are letters, or say which choice is right.
    no_labels = name in CHOICES or not set(CHOICES).isdisjoint(value)
    fields = [
        (f"{name}.{key}", inner)
        for key, inner in value.items()
        if not (no_labels and _plain(str(key)) in ("label", "labels"))
    ]
    return [one for one in fields if is_gold_name(_last(one[0]))] or [(name, value)]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
