"""Call a reward on right completions while planning: one that does not give them its highest value reads them wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.sampled_rows import some_indices
from pytest_entropy.rewards.batch import Batch
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.rewards.evaluation import RewardTerm, term_values
from pytest_entropy.rewards.gold import shown
from pytest_entropy.rewards.gold_rows import place
from pytest_entropy.rewards.known_rewards import answer_to_try, cut, known_reward

# Rows that are tried, and seconds for all of them.
TRIED, _SECONDS = 40, 60.0


@dataclass(frozen=True)
class DryCalls:
    """What a reward gives right completions.

    Attributes:
        tried: number of right completions.
        lower: those that get less than the highest value, in words.
        none: those that get None, in words.
        exact: whether each has to get the highest value.
    """

    tried: int
    lower: Sequence[str]
    none: Sequence[str]
    exact: bool

    @property
    def problem(self) -> str | None:
        """Why the reward cannot be used, None if it can."""
        wrong = self.lower or (self.none if len(self.none) == self.tried else [])
        too_many = len(wrong) > (0 if self.exact or not self.lower else self.tried // 2)
        return f"{len(wrong)} of {self.tried} right completions; the first: {wrong[0]}" if wrong and too_many else None

    @property
    def note(self) -> str | None:
        """What a reader should know of a reward that can be used, None if nothing."""
        some = [*self.lower, *self.none]
        return f"{len(some)} of {self.tried} right completions (the first: {some[0]})" if some else None


def require_highest(label: str, reward: PlainReward, rows: Sequence[Prompt]) -> None:
    """Reject prompts for whose right completions a known reward does not give its highest value.

    Args:
        label: what messages call the reward.
        reward: is called only if it is registered with a ``right_completion``, or is TRL's.
        rows: the prompts, whose answers can be read.

    Raises:
        UsageError: names the row, the answer, the completion and its reward.
    """
    calls = dry_calls(label, reward, rows)
    if calls is not None and (problem := calls.problem):
        raise UsageError(
            f"reward {label} does not give its highest value to {problem}; name a reward that reads such answers with "
            "--reward, or the column that holds them as it expects with prompts.answer_column"
        )


def dry_calls(label: str, reward: PlainReward, rows: Sequence[Prompt]) -> DryCalls | None:
    """What a known reward gives right completions to some rows; None for other rewards, which are not called.

    Args:
        label: what messages call the reward.
        reward: the function.
        rows: the prompts.

    Raises:
        UsageError: the function raises.
    """
    known = known_reward(reward)
    if known is None:
        return None
    tried: list[tuple[int, str]] = []
    for n in some_indices(len(rows), TRIED):
        if (answer := answer_to_try(rows[n], known.column)) is not None:
            tried.append((n, known.completion(answer)))
    if not tried:
        return None
    batch = Batch(tuple(rows[n] for n, _ in tried), tuple(text for _, text in tried))
    try:
        values = term_values(RewardTerm(reward, label), batch, _SECONDS)
    except RunError as error:
        reason = str(error).split("\n", 1)[0].removeprefix(f"reward {label} ")
        chat = "" if not isinstance(batch.prompts[0].content, str) else "; TRL's rewards need chat messages as prompts"
        raise UsageError(
            f"reward {label} {reason} for right completions, the first {cut(tried[0][1])} ({place(rows, tried[0][0])})"
            f"{chat if reward.__module__.startswith('trl.') else ''}"
        ) from None
    lower, none = [], []
    for (n, text), value in zip(tried, values, strict=True):
        gold = "" if known.column is None else f", answer {shown(rows[n].columns.get(known.column))}"
        words = f"{place(rows, n)}{gold}, completion {cut(text)}, reward {'None' if value is None else f'{value:g}'}"
        if value is None:
            none.append(words)
        elif value != known.highest:
            lower.append(words)
    return DryCalls(len(tried), lower, none, known.exact)
