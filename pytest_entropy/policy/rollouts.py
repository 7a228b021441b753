"""Rollouts: sampled responses, with the log-probabilities and entropies that the sampler recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch

from pytest_entropy.policy import action_values
from pytest_entropy.policy.action_values import ControlVariateTables

# The fields of Rollouts that are tensors with a row per prompt.
COLUMNS = ("tokens", "lengths", "ended", "log_probs", "entropies")


@dataclass(frozen=True)
class Rollouts:
    """P prompts with G responses each.

    Attributes:
        prompt_ids: P tuples of token ids, without padding.
        tokens: ``[P, G, L]`` int64, response tokens; a response includes its first EOS, and the entries after it are
            meaningless.
        lengths: ``[P, G]`` int64, number of response tokens, EOS included, at least 1.
        ended: ``[P, G]`` bool, whether EOS was drawn (False: cut at ``max_new_tokens``).
        log_probs: ``[P, G, L]``, log pi(t_k | t_<k, p) in nats as recorded by the sampler; 0 after the end.
        entropies: ``[P, G, L]``, exact next-token entropy H_k in nats as recorded by the sampler; 0 after the end.
        control_variate: tables fitted to another batch, for estimators that use a control variate, else None.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    tokens: torch.Tensor
    lengths: torch.Tensor
    ended: torch.Tensor
    log_probs: torch.Tensor
    entropies: torch.Tensor
    control_variate: ControlVariateTables | None = None

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def on(self, device: torch.device) -> Rollouts:
        """The rollouts with their tensors on a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in COLUMNS})

    @property
    def group_size(self) -> int:
        """G, the number of responses per prompt."""
        return self.tokens.shape[1]

    @property
    def size(self) -> int:
        """Tokens of the responses, each taken as long as the longest to its prompt, as a pass over them pads them."""
        return self.group_size * int(self.lengths.amax(1).sum())

    @property
    def mask(self) -> torch.Tensor:
        """``[P, G, L]`` bool, True up to the end of each response; from the lengths, because EOS may be the padding."""
        return self.mask_of(slice(None))

    def mask_of(self, index: torch.Tensor | slice) -> torch.Tensor:
        """The mask of the prompts in ``index``, ``[p, G, L]`` bool."""
        positions = torch.arange(self.tokens.shape[2], device=self.lengths.device)
        return positions < self.lengths[index].unsqueeze(-1)

    @property
    def contexts(self) -> torch.Tensor:
        """``[P, G, L]`` int64, the context of each token (:func:`.action_values.contexts`)."""
        return action_values.contexts(self.tokens, self.log_probs)

    def select(self, indices: Sequence[int]) -> Rollouts:
        """The rollouts of the prompts ``indices``, in this order, truncated to their longest response."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.tokens.device)
        longest = int(self.lengths[index].max())
        return Rollouts(
            prompt_ids=tuple(self.prompt_ids[i] for i in indices),
            tokens=self.tokens[index, :, :longest],
            lengths=self.lengths[index],
            ended=self.ended[index],
            log_probs=self.log_probs[index, :, :longest],
            entropies=self.entropies[index, :, :longest],
            control_variate=self.control_variate,
        )

    def responses_between(self, first: int, last: int) -> Rollouts:
        """Responses ``first .. last - 1`` to every prompt, truncated to the longest of them.

        Args:
            first, last: indices in the group.
        """
        longest = int(self.lengths[:, first:last].max())
        return Rollouts(
            prompt_ids=self.prompt_ids,
            tokens=self.tokens[:, first:last, :longest],
            lengths=self.lengths[:, first:last],
            ended=self.ended[:, first:last],
            log_probs=self.log_probs[:, first:last, :longest],
            entropies=self.entropies[:, first:last, :longest],
            control_variate=self.control_variate,
        )

    def responses(self, prompt_index: int) -> list[list[int]]:
        """The G responses to one prompt as lists of token ids, EOS included."""
        rows, lengths = self.tokens[prompt_index].tolist(), self.lengths[prompt_index].tolist()
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def gathered(parts: Iterable[tuple[Sequence[int], Rollouts]], prompts: int) -> Rollouts:
    """Assemble the rollouts of a batch from parts.

    Each part is written to its rows as it arrives, so that no second copy of the batch is held.

    Args:
        parts: pairs of prompt indices and the rollouts of these prompts; together they cover the batch.
        prompts: P, the number of prompts of the batch.

    Returns:
        The rollouts in the order of prompt indices, as wide as the longest response.
    """
    ids: list[tuple[int, ...]] = [()] * prompts
    columns: dict[str, torch.Tensor] = {}
    for indices, part in parts:
        for prompt_index, prompt in zip(indices, part.prompt_ids, strict=True):
            ids[prompt_index] = prompt
        for name in COLUMNS:
            _write(columns, name, indices, getattr(part, name), prompts)
    return Rollouts(
        prompt_ids=tuple(ids),
        tokens=columns["tokens"],
        lengths=columns["lengths"],
        ended=columns["ended"],
        log_probs=columns["log_probs"],
        entropies=columns["entropies"],
    )


def _write(
    columns: dict[str, torch.Tensor], name: str, indices: Sequence[int], values: torch.Tensor, prompts: int
) -> None:
    if name not in columns:
        columns[name] = values.new_zeros(prompts, *values.shape[1:])
    missing = values.shape[-1] - columns[name].shape[-1]
    if missing > 0:
        columns[name] = torch.nn.functional.pad(columns[name], (0, missing))
    columns[name][list(indices), ..., : values.shape[-1]] = values


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """Concatenate rollouts of different prompts along P, padded to the longest response."""
    ends = list(accumulate(map(len, parts)))
    places = [range(end - len(part), end) for end, part in zip(ends, parts, strict=True)]
    return gathered(zip(places, parts, strict=True), ends[-1])
