"""Check that prompts have the columns and answers a reward function needs, before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.prompts.sampled_rows import some_indices
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.gold import NoGold, accepted_answers
from pytest_entropy.rewards.named import named

# Names of TRL's other arguments; as in TRL, a column of such a name is not passed to rewards.
NOT_COLUMNS = frozenset(
    {"prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
)

# Planning reads at most this many rows, half of them the first and half spread over the rest; a run reads all.
READ_WHEN_PLANNING = 2000


def _discard(*_: Any, **__: Any) -> None:
    """Stands in for TRL's loggers."""


# TRL's arguments that come from its trainer: none runs here, and what rewards log is discarded.
_FROM_TRAINER: Mapping[str, Any] = {"trainer_state": None, "log_extra": _discard, "log_metric": _discard}


def accepted_arguments(reward: PlainReward, arguments: Mapping[str, Any]) -> dict[str, object]:
    """The keyword arguments that a reward function's signature accepts, out of ``arguments`` and TRL's own."""
    offered = {**arguments, **_FROM_TRAINER}
    parameters = _parameters(reward)
    if parameters is None or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return offered
    return {name: value for name, value in offered.items() if name in parameters}


def require_columns(label: str, reward: PlainReward, prompts: PromptSet) -> None:
    """Reject a reward that needs a column the prompts lack, or that does not take its arguments by name.

    A built-in reward needs in every row an answer that :func:`.gold.accepted_answers` can read.  Of sets that make
    their prompts on demand only the first prompt is checked.

    Args:
        label: what messages call the reward.
        reward: the function.
        prompts: at least one.

    Raises:
        UsageError: a column is missing, an answer is missing or cannot be read, or an argument is positional only;
            names the column and the columns of the prompts.
    """
    rows = prompts if isinstance(prompts, list) else [prompts[0]]
    known = {name for prompt in rows for name in prompt.columns} - NOT_COLUMNS
    columns = f"their columns: {', '.join(sorted(known)) or 'none'}"
    for name, parameter in (_parameters(reward) or {}).items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise UsageError(f"reward {label} takes {name!r} by position only; arguments are passed by name")
        needed = parameter.default is inspect.Parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if needed and name == "completion_ids":
            raise UsageError(f"reward {label} needs completion_ids; rewards are given texts here, not token ids")
        if needed and name not in known | {"prompts", "completions", *_FROM_TRAINER}:
            hint = "; name the column with the answers as prompts.answer_column" if name == "answer" else ""
            raise UsageError(
                f"reward {label} needs the column {name!r}, which the prompts do not have ({columns}){hint}"
            )
    if _reads_answer(reward):
        missing = [n for n, prompt in enumerate(rows, start=1) if prompt.columns.get("answer") is None]
        if missing:
            raise UsageError(
                f"reward {label} needs an answer in every row; {len(missing)} of {len(rows)} prompts have none "
                f"(the first: prompt {missing[0]}, {str(rows[missing[0] - 1].content)[:60]!r})"
            )
        if problem := _unreadable(rows, _some(len(rows))):
            raise UsageError(f"reward {label} {problem}")


def require_answers(label: str, reward: PlainReward, prompts: PromptSet) -> None:
    """Reject rows whose answer a built-in reward cannot read; before a run, where planning read some rows only.

    Args:
        label: what messages call the reward.
        reward: the function.
        prompts: the whole set; sets that make their prompts on demand are not checked.

    Raises:
        RunError: an answer cannot be read; names the first such row.
    """
    if not _reads_answer(reward) or not isinstance(prompts, list) or len(prompts) <= READ_WHEN_PLANNING:
        return
    if problem := _unreadable(prompts, range(len(prompts))):
        raise RunError(f"reward {label} {problem}")


def _reads_answer(reward: PlainReward) -> bool:
    known = named(reward)
    return known is not None and known.reads_answer


def _some(count: int) -> Iterable[int]:
    """Indices of the rows that planning reads."""
    return some_indices(count, READ_WHEN_PLANNING)


def _unreadable(rows: Sequence[Prompt], looked_at: Iterable[int]) -> str | None:
    """The message about answers that cannot be read among the rows looked at, None if all can."""
    first, bad, seen = "", 0, 0
    for n in looked_at:
        seen += 1
        try:
            accepted_answers(rows[n].columns.get("answer"))
        except NoGold as reason:
            first = first or f"row {n + 1}, prompt {str(rows[n].content)[:60]!r}: {reason}"
            bad += 1
    if not bad:
        return None
    return (
        f"cannot read the answer of {bad} of {seen} rows (the first: {first}); give text, a number or a list of "
        "accepted answers, or name the field that holds it with prompts.answer_column, dotted where it is nested"
    )


def _parameters(reward: PlainReward) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(reward).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        return None
