"""Score a group's responses a few at a time, where all of them do not fit into memory at once.

An estimator's weights need the whole group's log-probabilities and entropies, and no gradient.  So the group is scored
without gradients first; then each part of it is scored again and differentiated under its own share of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

import torch

from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.rollouts import Rollouts


def in_turn(group: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of the responses that are computed together.

    Args:
        group: G, number of responses.
        rows: number of responses computed at once.
    """
    for first in range(0, group, rows):
        yield first, min(first + rows, group)


@torch.no_grad()
def scored_in_turn(policy: Policy, part: Rollouts, rows: int, ranks: torch.Tensor | None = None) -> TeacherForced:
    """The scoring pass of whole groups without gradients, tables ``[P, G, L]``, a few responses at a time.

    Args:
        policy: the policy that scores.
        part: P prompts x G responses.
        rows: number of responses to each prompt that are scored at once.
        ranks: uniform numbers ``[P, G, L]`` for surprisal ranks; None for no ranks.
    """
    tables: dict[str, torch.Tensor] = {}
    for first, last in in_turn(part.group_size, rows):
        some = part.responses_between(first, last)
        length = some.tokens.shape[2]
        forced = policy.teacher_force(some, None if ranks is None else ranks[:, first:last, :length])
        for field in fields(TeacherForced):
            column = getattr(forced, field.name)
            if column is not None:
                table = tables.setdefault(field.name, column.new_zeros(part.tokens.shape))
                table[:, first:last, :length] = column
    return TeacherForced(**tables)


def fewer(rows: int | None, group: int) -> int | None:
    """Half as many responses at a time; None where it is one already.

    Args:
        rows: number of responses computed at once; None for all.
        group: G, number of responses.
    """
    rows = group if rows is None else rows
    return (rows + 1) // 2 if rows > 1 else None


def add_to(total: dict[str, torch.Tensor], gradient: Mapping[str, torch.Tensor]) -> None:
    """Add the gradient of some of the responses to the sum of those before, in float64.

    Args:
        total: the sum by live parameter name, which is changed.
        gradient: by live parameter name.
    """
    for name, g in gradient.items():
        total[name] = total[name] + g if name in total else g.double()


def splits(rollouts: Rollouts, tokens: int) -> bool:
    """Whether a piece of so many tokens cannot hold all responses to some prompt.

    Args:
        rollouts: P prompts x G responses.
        tokens: the token budget of a piece.
    """
    longest = rollouts.lengths.amax(1).tolist()
    return any(
        len(ids) + rollouts.group_size * own > tokens for ids, own in zip(rollouts.prompt_ids, longest, strict=True)
    )


def rows_within(part: Rollouts, tokens: int) -> int:
    """How many responses to each prompt of a piece may be computed at once: all, unless one prompt's are too many.

    Args:
        part: the piece's P prompts x G responses.
        tokens: the token budget of a piece.
    """
    longest, prompt = part.tokens.shape[2], max(map(len, part.prompt_ids))
    if len(part) > 1 or prompt + part.group_size * longest <= tokens:
        return part.group_size
    return max(1, min(part.group_size, (tokens - prompt) // longest))
