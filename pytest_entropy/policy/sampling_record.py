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
        self.lengths = torch.full((rows,), limit, dtype=torch.int64, device=device)

    def write(self, rows: torch.Tensor, k: int, drawn: Drawn) -> None:
        """Record the draws at position k.

        Args:
            rows: indices of the responses that are still running.
            k: the position.
            drawn: the draws of these rows.
        """
        self.tokens[rows, k] = drawn.tokens
        self.log_probs[rows, k] = drawn.log_probs
        self.entropies[rows, k] = drawn.entropies

    def end(self, rows: torch.Tensor, k: int) -> None:
        """Mark token k as the last one of these rows, unless they have already ended.

        Args:
            rows: indices of the responses.
            k: the position.
        """
        self.lengths[rows] = self.lengths[rows].clamp(max=k + 1)

    def rollouts(self, prompt_ids: Sequence[Sequence[int]], group: int, eos: torch.Tensor) -> Rollouts:
        """The responses sampled so far, truncated to the longest.

        Args:
            prompt_ids: the token ids of the P prompts.
            group: G, the number of responses per prompt.
            eos: the ids of the end tokens.
        """
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
