"""The record that travels from sampling to scoring: what was drawn, and what the sampler thought of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class ActionValues:
    """What the entropy-to-go after a token has been among *other* prompts, for the prompts at hand.

    Folds are sets of prompts; row f of a table was learnt from the prompts outside fold f.

    Attributes:
        fold: ``[P]`` int64, the fold of each prompt.
        position: ``[folds, L]`` float64 nats, mean by position.
        token: ``[folds, T]`` float64 nats, what token u adds to it; zero from T on.
        share: ``[folds]`` float64 in [0, 1], how much of the rest a response has in common with its group.
    """

    fold: torch.Tensor
    position: torch.Tensor
    token: torch.Tensor
    share: torch.Tensor

    def select(self, slots: Sequence[int]) -> ActionValues:
        """Those of some prompts, in the order given."""
        return replace(self, fold=self.fold[list(slots)])


@dataclass(frozen=True)
class Rollouts:
    """P prompts with G responses each.

    Attributes:
        prompt_ids: P tuples of token ids, without padding.
        tokens: ``[P, G, L]`` int64, response tokens; a response ends with its first EOS, which counts.
            What follows has no meaning.
        lengths: ``[P, G]`` int64, number of response tokens that count, at least 1.
        ended: ``[P, G]`` bool, whether EOS was drawn (False: cut at ``max_new_tokens``).
        log_probs: ``[P, G, L]``, log pi(t_k | t_<k, p) in nats as recorded by the sampler; 0 after the end.
        entropies: ``[P, G, L]``, exact next-token entropy H_k in nats, as recorded; 0 after the end.
        action_values: learnt from the batch for estimators that ask for them, else None.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    tokens: torch.Tensor
    lengths: torch.Tensor
    ended: torch.Tensor
    log_probs: torch.Tensor
    entropies: torch.Tensor
    action_values: ActionValues | None = None

    def __len__(self) -> int:
        return len(self.prompt_ids)

    @property
    def group_size(self) -> int:
        """G, the number of responses per prompt."""
        return self.tokens.shape[1]

    @property
    def mask(self) -> torch.Tensor:
        """``[P, G, L]`` bool: the tokens that count.  From lengths, never from ``ids != pad``."""
        positions = torch.arange(self.tokens.shape[2], device=self.lengths.device)
        return positions < self.lengths.unsqueeze(-1)

    def select(self, slots: Sequence[int]) -> Rollouts:
        """The rollouts of some prompts, in the order given, cut to their own longest response."""
        index = torch.as_tensor(slots, dtype=torch.int64, device=self.tokens.device)
        longest = int(self.lengths[index].max())
        return Rollouts(
            prompt_ids=tuple(self.prompt_ids[i] for i in slots),
            tokens=self.tokens[index, :, :longest],
            lengths=self.lengths[index],
            ended=self.ended[index],
            log_probs=self.log_probs[index, :, :longest],
            entropies=self.entropies[index, :, :longest],
            action_values=None if self.action_values is None else self.action_values.select(slots),
        )

    def responses(self, slot: int) -> list[list[int]]:
        """The G responses to one prompt as lists of token ids, EOS included."""
        rows, lengths = self.tokens[slot].tolist(), self.lengths[slot].tolist()
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """Join rollouts of different prompts, padding to the longest response."""
    longest = max(part.tokens.shape[2] for part in parts)

    def padded(name: str) -> torch.Tensor:
        columns = [getattr(part, name) for part in parts]
        grow = torch.nn.functional.pad
        return torch.cat([grow(column, (0, longest - column.shape[2])) for column in columns])

    return Rollouts(
        prompt_ids=tuple(ids for part in parts for ids in part.prompt_ids),
        tokens=padded("tokens"),
        lengths=torch.cat([part.lengths for part in parts]),
        ended=torch.cat([part.ended for part in parts]),
        log_probs=padded("log_probs"),
        entropies=padded("entropies"),
    )
