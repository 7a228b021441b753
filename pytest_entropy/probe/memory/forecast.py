"""Forecast the memory of each kind of piece: run it on a copy of the policy without data, and count what it holds."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import cached_property

import torch

from pytest_entropy.policy.distribution import draw_tokens
from pytest_entropy.policy.kv_cache import repeat_rows
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.prefill import prefill
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.derivative_piece import DerivativePiece
from pytest_entropy.probe.derivatives.gradient import GradientPiece
from pytest_entropy.probe.derivatives.objectives import Loss
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.memory.weightless import longest_rollouts, weightless
from pytest_entropy.probe.memory.without_data import META, WithoutData


@dataclass(frozen=True)
class PieceSize:
    """The size of a piece whose responses are all as long as they may be.

    Attributes:
        prompts: number of prompts.
        rows: number of each prompt's responses that are computed at once.
    """

    prompts: int
    rows: int

    @classmethod
    def within(cls, tokens: int, group: int, prompt_tokens: int, limit: int) -> PieceSize:
        """The largest piece of at most so many tokens, which is one response at least.

        Args:
            tokens: the budget.
            group: G, number of responses to a prompt.
            prompt_tokens: tokens of a prompt, which count once.
            limit: tokens of a response.
        """
        whole = prompt_tokens + group * limit
        if whole <= tokens:
            return cls(tokens // whole, group)
        return cls(1, max(1, min(group, (tokens - prompt_tokens) // limit)))


@dataclass(frozen=True)
class Forecast:
    """The bytes that pieces of a policy's work hold at most, beside its weights.

    Attributes:
        policy: the policy; only its shapes matter.
        estimator: name of the estimator.
        prompt_tokens: tokens of a prompt.
        limit: tokens of a response.
        with_gradient: whether a derivative pass gives the entropy gradient as a vector, too.
    """

    policy: Policy
    estimator: str
    prompt_tokens: int
    limit: int
    with_gradient: bool = False

    @cached_property
    def _copy(self) -> Policy:
        return weightless(self.policy)

    def derivatives(self, size: PieceSize) -> int:
        """A piece of directional derivatives: one scoring pass under the hooks, and one backward by epsilon.

        Args:
            size: the piece's.
        """
        direction = {
            name: torch.empty(p.shape, dtype=torch.float64, device=META) for name, p in self._copy.trainable.items()
        }
        gradient_of = self.estimator if self.with_gradient else None
        piece = DerivativePiece(self._rollouts(size), (direction,), (self.estimator,), gradient_of=gradient_of)
        return self._peak(piece)

    def gradient(self, size: PieceSize) -> int:
        """A piece of the loss's gradient: one scoring pass, one backward by the parameters.

        Args:
            size: the piece's.
        """
        weights = torch.zeros(size.prompts, size.rows, dtype=torch.float64)
        return self._peak(GradientPiece(self._rollouts(size), (Loss(weights),)))

    @torch.no_grad()
    def sampling(self, prompts: int, group: int) -> int:
        """A sampling call, at its last token: the cache of all positions, and one more step.

        Args:
            prompts: number of prompts.
            group: G, number of responses to each.
        """
        policy, rows = self._copy, prompts * group
        with WithoutData() as live:
            last, cache, _ = prefill(policy, ((0,) * self.prompt_tokens,) * prompts)
            repeat_rows(cache, prompts, group)
            first = live.peak
            if self.limit > 1:
                # All but the last response token.
                self._step(policy, cache, rows, self.limit - 1)
            # What a pass leaves in circles of references is freed when memory is short.
            gc.collect()
            live.peak = live.now
            logits = self._step(policy, cache, rows, 1)
            draw_tokens(logits, policy.temperature, torch.zeros(rows, dtype=torch.float64, device=META))
            del last, logits
        return int(max(first, live.peak))

    def _step(self, policy: Policy, cache: object, rows: int, tokens: int) -> torch.Tensor:
        ids = torch.zeros(rows, tokens, dtype=torch.int64, device=META)
        positions = torch.zeros(rows, tokens, dtype=torch.int64, device=META)
        return policy.forward(ids, None, positions, cache, keep=1)[:, -1]  # type: ignore[arg-type]

    def _rollouts(self, size: PieceSize) -> Rollouts:
        learns = get_estimator(self.estimator).learns
        return longest_rollouts(
            size.prompts, size.rows, prompt_tokens=self.prompt_tokens, limit=self.limit, learns=learns
        )

    def _peak(self, piece: DerivativePiece | GradientPiece) -> int:
        policy = self._copy
        with WithoutData() as live:
            piece.compute(policy)
        return int(live.peak)
