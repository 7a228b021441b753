"""What a session's header says of a reward that can be used, but may read less than its user thinks."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.rewards.arguments import FROM_TRAINER, NOT_COLUMNS, looked_up, parameters
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.dry_call import dry_calls
from pytest_entropy.rewards.gold_columns import disagreement, gold_columns, is_gold_name
from pytest_entropy.rewards.gold_rows import absent_in, place, solutions_in
from pytest_entropy.rewards.named import named
from pytest_entropy.rewards.unread_parts import unread_part

_SHOWN = 4


def reward_notes(label: str, reward: PlainReward, prompts: PromptSet) -> list[str]:
    """What to say of a reward and its prompts, a sentence each: answers that few completions can match, columns unread.

    Args:
        label: what the notes call the reward.
        reward: the function, for which the prompts have what it needs.
        prompts: at least one; of sets that make their prompts on demand only the first is looked at.
    """
    rows = prompts if isinstance(prompts, list) else [prompts[0]]
    known = named(reward)
    notes = []
    if known is not None and known.reads_answer:
        notes = _on_answers(rows)
    elif known is None:
        notes = _on_columns(reward, rows)
    calls = dry_calls(label, reward, rows)
    if calls is not None and calls.note:
        notes.append(f"gives less than its highest value, or None, to {calls.note}")
    if unread := unread_part(label, reward, rows):
        notes.append(unread)
    return [f"reward {label} {note}" for note in notes]


def _on_answers(rows: Sequence[Prompt]) -> list[str]:
    """Of a reward that reads ``answer``: another column disagrees, and some answers are whole solutions."""
    notes = []
    if other := disagreement(rows):
        notes.append(f"reads the column 'answer'; {other}: prompts.answer_column chooses")
    looked_at = range(min(len(rows), 1000))
    if solutions := solutions_in(rows, looked_at):
        notes.append(
            f"finds no notation that marks the answer in {len(solutions)} of {len(looked_at)} rows, whose answers are "
            f"long texts (the first: {place(rows, solutions[0])})"
        )
    if absent := absent_in(rows, looked_at):
        notes.append(
            f"compares with the word {rows[absent[0]].columns['answer']!r} in {len(absent)} of {len(looked_at)} rows "
            f"(the first: {place(rows, absent[0])}), which no completion may say: remove them if the answer is missing"
        )
    return notes


def _on_columns(reward: PlainReward, rows: Sequence[Prompt]) -> list[str]:
    """Of a user's function: columns that it reads only if they are there, and that are not, while others are unread."""
    columns = {name for prompt in rows for name in prompt.columns} - NOT_COLUMNS
    named_ones = parameters(reward) or {}
    found = looked_up(reward)
    given = {"prompts", "completions", "completion_ids", *FROM_TRAINER}
    defaults = {
        name: parameter.default
        for name, parameter in named_ones.items()
        if parameter.default is not inspect.Parameter.empty and name not in columns | given
    }
    absent = [name for name, default in defaults.items() if default is None or is_gold_name(name)]
    absent += sorted(found.optional - columns - given - set(absent))
    read = set(named_ones) | found.needed | found.optional
    unread = [name for name in gold_columns(rows) if name.partition(".")[0] not in read]
    values = sorted({"completion_ids", "trainer_state"} & (set(named_ones) | found.optional | found.needed))
    of_trainer = [f"reads {' and '.join(values)}, which no trainer gives here: it gets none"] if values else []
    # A function that hands its columns on may read any of them.
    if not absent or not unread:
        return of_trainer
    missing, others = (", ".join(map(repr, names[:_SHOWN])) for names in (absent, unread))
    may = " by name" if found.anything else ""
    return [
        *of_trainer,
        f"reads {missing} only where the prompts have {'it' if len(absent) == 1 else 'them'}, which they do not; they "
        f"have {others}, which it does not read{may}: give the column the name that it reads",
    ]
