"""The growing tables of one sampling call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_entropy.policy.distribution import Drawn
from pytest_entropy.policy.rollouts import Rollouts


class Recorder:
    """One row per response: tokens, what the sampler thought of them, and where they end."""

    def __init__(self, rows: int, limit: int, device: torch.device, dtype: torch.dtype) -> None:
        self.tokens = torch.zeros(rows, limit, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(rows, limit, dtype=dtype, device=device)
        self.entropies = torch.zeros(rows, limit, dtype=dtype, device=device)
        self.lengths = torch.full((rows,), limit, dtype=torch.int64, device=device)

    def write(self, rows: torch.Tensor, k: int, drawn: Drawn) -> None:
        """Token k of some rows."""
        self.tokens[rows, k] = drawn.tokens
        self.log_probs[rows, k] = drawn.log_probs
        self.entropies[rows, k] = drawn.entropies

    def end(self, rows: torch.Tensor, k: int) -> None:
        """Token k was the last one of these rows, unless an earlier one was."""
        self.lengths[rows] = self.lengths[rows].clamp(max=k + 1)

    def rollouts(self, prompt_ids: Sequence[Sequence[int]], group: int, eos: torch.Tensor) -> Rollouts:
        """All of it, cut to the longest response."""
        longest = int(self.lengths.max())
        last = self.tokens.gather(1, (self.lengths - 1).unsqueeze(1)).squeeze(1)
        shape = (len(prompt_ids), group, longest)
        return Rollouts(
            prompt_ids=tuple(tuple(ids) for ids in prompt_ids),
            tokens=self.tokens[:, :longest].reshape(shape).clone(),
            lengths=self.lengths.reshape(shape[:2]).clone(),
            ended=torch.isin(last, eos).reshape(shape[:2]),
            log_probs=self.log_probs[:, :longest].reshape(shape).clone(),
            entropies=self.entropies[:, :longest].reshape(shape).clone(),
        )
