"""What a sampling call writes down while it draws, and the rollouts that come of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_entropy.distribution import entropy
from pytest_entropy.rollouts import Rollouts


class Recorder:
    """The growing tables of one sampling call, one row per response."""

    def __init__(self, rows: int, limit: int, device: torch.device, dtype: torch.dtype) -> None:
        self.tokens = torch.zeros(rows, limit, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(rows, limit, dtype=dtype, device=device)
        self.entropies = torch.zeros(rows, limit, dtype=dtype, device=device)
        self.lengths = torch.full((rows,), limit, dtype=torch.int64, device=device)

    def write(self, rows: torch.Tensor, k: int, tokens: torch.Tensor, log_p: torch.Tensor) -> None:
        self.tokens[rows, k] = tokens
        self.log_probs[rows, k] = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        self.entropies[rows, k] = entropy(log_p)

    def end(self, rows: torch.Tensor, k: int) -> None:
        self.lengths[rows] = self.lengths[rows].clamp(max=k + 1)

    def rollouts(self, prompt_ids: Sequence[Sequence[int]], group: int, eos: torch.Tensor) -> Rollouts:
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
