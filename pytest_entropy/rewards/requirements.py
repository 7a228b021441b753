"""What a reward function asks for, checked against what the prompts have before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet
from pytest_entropy.rewards.answers import BUILT_IN

PlainReward = Callable[..., Any]

# What TRL passes beside the columns; a column of that name is not handed on, there or here.
NOT_COLUMNS = frozenset(
    {"prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
)


def _discard(*_: Any, **__: Any) -> None:
    """Takes the place of TRL's loggers."""


# TRL's other arguments: no trainer runs here, and what rewards log goes nowhere.
_FROM_TRAINER: Mapping[str, Any] = {"trainer_state": None, "log_extra": _discard, "log_metric": _discard}


def accepted(reward: PlainReward, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments, TRL's further ones included, that the function takes of those there are."""
    offered = {**arguments, **_FROM_TRAINER}
    parameters = _parameters(reward)
    if parameters is None or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return offered
    return {name: value for name, value in offered.items() if name in parameters}


def require_columns(label: str, reward: PlainReward, prompts: PromptSet) -> None:
    """Refuse a reward that needs a column the prompts do not have, or that cannot take its arguments by name.

    A built-in reward needs an answer in every row.  Sets that make their prompts on demand are judged by the
    first.

    Raises:
        UsageError: names the column, and what columns there are.
    """
    rows = prompts if isinstance(prompts, list) else [prompts[0]]
    known = {name for prompt in rows for name in prompt.columns} - NOT_COLUMNS
    found = f"columns there are: {', '.join(sorted(known)) or 'none'}"
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
            raise UsageError(f"reward {label} needs the column {name!r}, which the prompts do not have ({found}){hint}")
    if reward in BUILT_IN.values():
        missing = [n for n, prompt in enumerate(rows, start=1) if prompt.columns.get("answer") is None]
        if missing:
            raise UsageError(
                f"reward {label} needs an answer in every row; {len(missing)} of {len(rows)} prompts have none "
                f"(the first: prompt {missing[0]}, {str(rows[missing[0] - 1].content)[:60]!r})"
            )


def _parameters(reward: PlainReward) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(reward).parameters
    except (TypeError, ValueError):  # some callables of C have none
        return None
