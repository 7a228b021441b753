"""Responses to one prompt that are equal: they are scored once, and each has the numbers of the first of them.

Short answers and policies near collapse repeat themselves within a group; the sum over a group's responses does not
change.  Two are equal if they have the same tokens and, for action values, the same contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from pytest_entropy.policy.logits import TeacherForced
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import COLUMNS, Rollouts


@dataclass(frozen=True)
class EqualResponses:
    """Which responses of P prompts are equal.

    Attributes:
        first: ``[P, G]`` int64, the number of the first response to the prompt that a response is equal to.
    """

    first: np.ndarray

    @classmethod
    def of(cls, rollouts: Rollouts) -> EqualResponses:
        """Compare the responses of each group.

        Args:
            rollouts: P prompts x G responses.
        """
        mask = rollouts.mask.cpu().numpy()
        columns = [np.where(mask, rollouts.tokens.cpu().numpy(), -1)]
        if rollouts.control_variate is not None:
            columns.append(np.where(mask, rollouts.contexts.cpu().numpy(), -1))
        content = np.concatenate(columns, -1)
        first = np.zeros(mask.shape[:2], dtype=np.int64)
        for n, group in enumerate(content):
            seen: dict[bytes, int] = {}
            first[n] = [seen.setdefault(row.tobytes(), g) for g, row in enumerate(group)]
        return cls(first)

    def select(self, indices: Sequence[int]) -> EqualResponses:
        """Those of some of the prompts, in this order."""
        return EqualResponses(self.first[list(indices)])

    @property
    def distinct(self) -> list[int]:
        """The number of different responses to each prompt."""
        return [len(set(own)) for own in self.first.tolist()]

    def scored(self, policy: Policy, part: Rollouts, ranks: torch.Tensor | None = None) -> TeacherForced:
        """``policy.teacher_force(part, ranks)``, with each of a group's different responses computed once.

        Args:
            policy: the policy that scores.
            part: the P prompts' rollouts.
            ranks: ``[P, G, L]`` uniform random numbers for the surprisal ranks; None for no ranks.
        """
        firsts = self.first.tolist()
        kinds = [sorted(set(own)) for own in firsts]
        most = max(map(len, kinds))
        if most == part.group_size:
            return policy.teacher_force(part, ranks)
        # A prompt with fewer has its first response computed again; nothing is read of that.
        rows = torch.tensor([kind + [kind[0]] * (most - len(kind)) for kind in kinds])
        places = torch.tensor([[kind.index(g) for g in own] for kind, own in zip(kinds, firsts, strict=True)])
        if ranks is None:
            return _copied(policy.teacher_force(_responses(part, rows)), places)
        used = ranks.take_along_dim(rows.to(ranks.device).unsqueeze(-1), 1)
        found = _copied(policy.teacher_force(_responses(part, rows), used), places)
        return _with_own_ranks(found, ranks, used.take_along_dim(places.to(used.device).unsqueeze(-1), 1))


def _copied(forced: TeacherForced, places: torch.Tensor) -> TeacherForced:
    """The scores of the responses ``places`` ``[P, G]`` among those computed."""
    index = places.to(forced.log_probs.device).unsqueeze(-1)
    present = {field.name: column for field in fields(forced) if (column := getattr(forced, field.name)) is not None}
    return replace(forced, **{name: column.take_along_dim(index, 1) for name, column in present.items()})


def _with_own_ranks(found: TeacherForced, ranks: torch.Tensor, used: torch.Tensor) -> TeacherForced:
    """The scores with the ranks by each response's own random numbers, in place of those that were used."""
    assert found.ranks is not None
    assert found.tied is not None
    moved = (ranks - used).to(found.tied.device) * found.tied
    return replace(found, ranks=(found.ranks + moved).clamp(0.0, 1.0))


def _responses(part: Rollouts, rows: torch.Tensor) -> Rollouts:
    """The responses ``rows`` ``[P, D]`` of each group."""
    index = rows.to(part.tokens.device)
    columns = {name: getattr(part, name) for name in COLUMNS}
    return replace(
        part,
        **{
            name: column.take_along_dim(index.unsqueeze(-1) if column.dim() == 3 else index, 1)
            for name, column in columns.items()
        },
    )
