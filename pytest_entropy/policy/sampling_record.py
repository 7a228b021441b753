"""The tables that one sampling call fills token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_entropy.policy.distribution import Drawn
from pytest_entropy.policy.rollouts import Rollouts


class Recorder:
    """Tokens, log-probabilities, entropies and lengths of the responses being sampled, a row per response.

    Args:
        rows: the number of responses.
        limit: ``max_new_tokens``.
        device: of the tables.
        dtype: of log-probabilities and entropies.
    """

    def __init__(self, rows: int, limit: int, device: torch.device, dtype: torch.dtype) -> None:
        self.tokens = torch.zeros(rows, limit, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(rows, limit, dtype=dtype, device=device)
        self.entropies = torch.zeros(rows, limit, dtype=dtype, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)

    def write(self, rows: torch.Tensor, k: int, drawn: Drawn, running: torch.Tensor) -> None:
        """Record the draws at position k.

        Args:
            rows: ``[rows]`` int64, the responses drawn for.
            k: the position.
            drawn: the draws of these rows.
            running: ``[rows]`` bool, whether the response has not ended before; else its draw lies after its end.
        """
        self.tokens[rows, k] = drawn.tokens
        self.log_probs[rows, k] = drawn.log_probs
        self.entropies[rows, k] = drawn.entropies
        self.lengths.index_add_(0, rows, running.long())

    def rollouts(self, prompt_ids: Sequence[Sequence[int]], group: int, eos_ids: Sequence[int]) -> Rollouts:
        """The responses sampled so far, truncated to the longest, with zeros after each one's end.

        Args:
            prompt_ids: the token ids of the P prompts.
            group: G, the number of responses per prompt.
            eos_ids: the ids of the end tokens.
        """
        longest = int(self.lengths.max())
        last = self.tokens.gather(1, (self.lengths - 1).unsqueeze(1)).squeeze(1)
        shape = (len(prompt_ids), group, longest)
        kept = torch.arange(longest, device=self.lengths.device) < self.lengths.unsqueeze(1)

        def table(values: torch.Tensor) -> torch.Tensor:
            return torch.where(kept, values[:, :longest], 0).reshape(shape)

        return Rollouts(
            prompt_ids=tuple(tuple(ids) for ids in prompt_ids),
            tokens=table(self.tokens),
            lengths=self.lengths.reshape(shape[:2]).clone(),
            ended=torch.isin(last, torch.tensor(eos_ids, dtype=torch.int64, device=last.device)).reshape(shape[:2]),
            log_probs=table(self.log_probs),
            entropies=table(self.entropies),
        )
