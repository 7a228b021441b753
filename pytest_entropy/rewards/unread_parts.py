"""Call a reward on wrong completions while planning: those with the highest value show what of an answer it ignores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_entropy.errors import RunError
from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.sampled_rows import some_indices
from pytest_entropy.rewards.batch import Batch
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.evaluation import RewardTerm, term_values
from pytest_entropy.rewards.gold import shown
from pytest_entropy.rewards.gold_rows import place
from pytest_entropy.rewards.known_rewards import answer_to_try, cut, known_reward

# Rows that are tried, changes of each answer, characters of an answer, and seconds for all calls.
_TRIED, _CHANGES, _LONGEST, _SECONDS = 20, 6, 60, 20.0
# A number, or a word that is no command of LaTeX.  One letter alone is a variable, whose name may not matter.
_RUN = re.compile(r"\d+|(?<![\\A-Za-z])[A-Za-z]{2,}")
# What stands in a word's place; the second where the word is the first.
_WORDS = ("cm", "kg")


def unread_part(label: str, reward: PlainReward, rows: Sequence[Prompt]) -> str | None:
    """What a header says of a known reward that gives wrong answers its highest value; None where it does not.

    In each answer one number or one word is replaced by another, which is a wrong answer unless the part is a comment.

    Args:
        label: what messages call the reward.
        reward: is called only if :func:`known_reward` knows it.
        rows: the prompts, whose right completions get the highest value.
    """
    known = known_reward(reward)
    if known is None or known.column is None:
        return None
    tried = [
        (n, known.completion(wrong))
        for n in some_indices(len(rows), _TRIED)
        for wrong in _changed(answer_to_try(rows[n], known.column) or "")
    ]
    if not tried:
        return None
    batch = Batch(tuple(rows[n] for n, _ in tried), tuple(text for _, text in tried))
    try:
        values = term_values(RewardTerm(reward, label), batch, _SECONDS)
    except RunError:
        # Completions that say nonsense may be refused; right ones have been tried.
        return None
    equal = [one for one, value in zip(tried, values, strict=True) if value == known.highest]
    if not equal:
        return None
    n, text = equal[0]
    answer = shown(rows[n].columns.get(known.column))
    return (
        f"gives its highest value to {len(equal)} of {len(tried)} wrong completions, too, whose answer has another "
        f"number or word in one place (the first: {place(rows, n)}, answer {answer}, completion {cut(text)}): it does "
        "not read the whole answer"
    )


def _changed(answer: str) -> Iterator[str]:
    """The answer with one of its numbers or words replaced by another, for some of them."""
    if len(answer) > _LONGEST:
        return
    for run in list(_RUN.finditer(answer))[:_CHANGES]:
        word = run[0]
        other = word[:-1] + str((int(word[-1]) + 1) % 10) if word.isdecimal() else _WORDS[word.lower() == _WORDS[0]]
        yield answer[: run.start()] + other + answer[run.end() :]
