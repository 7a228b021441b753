"""Check that prompts have the columns and answers a reward function needs, before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.prompts.sampled_rows import READ_WHEN_PLANNING, some_indices
from pytest_entropy.rewards.arguments import FROM_TRAINER, NOT_COLUMNS, looked_up, parameters
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.dry_call import require_highest
from pytest_entropy.rewards.gold_columns import gold_columns, is_gold_name
from pytest_entropy.rewards.gold_rows import misread_answers, unreadable
from pytest_entropy.rewards.named import named


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
    _require_arguments(label, reward, rows)
    if _reads_answer(reward):
        missing = [n for n, prompt in enumerate(rows, start=1) if prompt.columns.get("answer") is None]
        if missing:
            raise UsageError(
                f"reward {label} needs an answer in every row; {len(missing)} of {len(rows)} prompts have none "
                f"(the first: prompt {missing[0]}, {str(rows[missing[0] - 1].content)[:60]!r})"
                f"{_candidates(rows, 'answer') if len(missing) == len(rows) else ''}"
            )
        if problem := misread_answers(rows, some_indices(len(rows), READ_WHEN_PLANNING)):
            raise UsageError(f"reward {label} {problem}")
    require_highest(label, reward, rows)


def _require_arguments(label: str, reward: PlainReward, rows: Sequence[Prompt]) -> None:
    """Reject arguments that the function needs, by its signature or its source, and that are not there."""
    known = {name for prompt in rows for name in prompt.columns} - NOT_COLUMNS
    columns = f"their columns: {', '.join(sorted(known)) or 'none'}"
    given = known | {"prompts", "completions", *FROM_TRAINER}
    of_signature = parameters(reward) or {}
    if {"solution_str", "ground_truth"} <= set(of_signature):
        raise UsageError(
            f"reward {label} has the signature of verl's compute_score, for one response; wrap it in a function "
            "f(completions, answer, **columns) that returns a list"
        )
    for name, parameter in of_signature.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise UsageError(f"reward {label} takes {name!r} by position only; arguments are passed by name")
        needed = parameter.default is inspect.Parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if needed and name == "completion_ids":
            raise UsageError(f"reward {label} needs completion_ids; rewards are given texts here, not token ids")
        if needed and name not in given:
            raise UsageError(
                f"reward {label} needs the column {name!r}, which the prompts do not have ({columns})"
                f"{_candidates(rows, name)}"
            )
    for name in sorted(looked_up(reward).needed - given):
        raise UsageError(
            f"reward {label} looks up {name!r} in its keyword arguments, a column that the prompts do not have "
            f"({columns}){_candidates(rows, name)}"
        )


def _candidates(rows: Sequence[Prompt], name: str) -> str:
    """The remedy for a missing column: which of the others may be meant."""
    others = [other for other in gold_columns(rows) if other != name]
    if name == "answer":
        if not others:
            return "; name the column with the answers as prompts.answer_column"
        more = f" (or {', '.join(map(repr, others[1:4]))})" if others[1:] else ""
        return (
            f"; the prompts have {others[0]!r}{more}: name the column with the answers as "
            f"prompts.answer_column={others[0]}"
        )
    if not others or not is_gold_name(name):
        return ""
    return f"; the prompts have {', '.join(map(repr, others[:4]))}: rename the column, or the function's argument"


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
    if problem := unreadable(prompts, range(len(prompts))):
        raise RunError(f"reward {label} {problem}")


def _reads_answer(reward: PlainReward) -> bool:
    known = named(reward)
    return known is not None and known.reads_answer
