"""The rows that are being decoded: which responses they are, which still run, and what their next step needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from pytest_entropy.errors import RunError
from pytest_entropy.policy.attention_mask import decoding_mask, padding_needed
from pytest_entropy.policy.distribution import Drawn
from pytest_entropy.policy.kv_cache import keep_rows

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy

# Ended rows leave the decoding batch only once more than a quarter have ended, because copying the cache is costly.
COMPACT_BELOW = 0.75
# Tokens between two looks at which rows still run, off the CPU: each look waits for the device.
LOOK_EVERY = 32


def tokens_per_look(device: torch.device) -> int:
    """Number of tokens decoded between two calls of :meth:`DecodingBatch.running_rows`.

    One on the CPU, where there is nothing to wait for and an ended row's tokens cost as much as another's.

    Args:
        device: of the policy.
    """
    return 1 if device.type == "cpu" else LOOK_EVERY


class DecodingBatch:
    """The rows of the key/value cache, one per response that is being decoded.

    Ended rows stay until :meth:`compact`; what is drawn for them is not recorded.

    Args:
        policy: the policy that is sampled.
        prompt_ids: the token ids of the P prompts.
        group: G, the number of responses per prompt.
        limit: ``max_new_tokens``.
        cache: keys and values of the prompts, a row per response.
        prompt_mask: ``[P, T]``, 0 for padding, 1 else.

    Attributes:
        alive: ``[rows]`` int64, the response of each row.
        running: ``[rows]`` bool, whether the response has not ended.
        tokens: ``[rows]`` int64, the last token of each row.
    """

    def __init__(
        self,
        policy: Policy,
        prompt_ids: Sequence[Sequence[int]],
        group: int,
        limit: int,
        cache: DynamicCache,
        prompt_mask: torch.Tensor,
    ) -> None:
        self.policy, self.cache = policy, cache
        self.width = prompt_mask.shape[1]
        self.alive = torch.arange(len(prompt_ids) * group, device=policy.device)
        self.running = torch.ones_like(self.alive, dtype=torch.bool)
        self.tokens = torch.zeros_like(self.alive)
        self._finite = torch.ones_like(self.running)
        self._ends = torch.tensor(policy.eos_ids, dtype=torch.int64, device=policy.device)
        prompt_mask = prompt_mask.repeat_interleave(group, dim=0)
        self._start = prompt_mask.sum(-1, keepdim=True)
        self._mask = decoding_mask(policy, prompt_mask, limit) if padding_needed(prompt_ids) else None
        # Known to the host, so that it need not ask the device whether the rows left are padded.
        self._lengths = torch.tensor([len(ids) for ids in prompt_ids]).repeat_interleave(group)
        self._still: torch.Tensor | None = None

    def take(self, drawn: Drawn) -> None:
        """Take the drawn tokens as the rows' last ones; a row whose token is an end token no longer runs.

        Args:
            drawn: a draw for each row.
        """
        self.tokens = drawn.tokens
        self._finite = self._finite & (drawn.finite | ~self.running)
        self.running = self.running & ~(drawn.tokens.unsqueeze(-1) == self._ends).any(-1)

    def running_rows(self) -> int:
        """Number of rows that still run: one copy from the device, which waits for it.

        Raises:
            RunError: the logits of a row were not finite while it ran.
        """
        self._still, finite = torch.stack([self.running, self._finite]).cpu()
        if not bool(finite.all()):
            raise RunError("the model's logits are not finite while sampling; check the weights and dtype")
        return int(self._still.sum())

    def compact(self) -> None:
        """Drop the rows that had ended at the last :meth:`running_rows`, if they are more than a quarter."""
        assert self._still is not None
        kept = self._still.nonzero().squeeze(-1)
        if len(kept) >= COMPACT_BELOW * len(self._still):
            return
        self._lengths = self._lengths[kept]
        index = kept.to(self.policy.device)
        keep_rows(self.cache, index)
        self.alive, self.tokens, self._start = self.alive[index], self.tokens[index], self._start[index]
        self.running, self._finite = self.running[index], self._finite[index]
        if self._mask is not None:
            # Without padding attention needs no mask, and can use its fast kernel.
            self._mask = None if bool((self._lengths == self.width).all()) else self._mask[index]

    def step(self, k: int) -> torch.Tensor:
        """Logits ``[rows, V]`` of the token at position k + 1, from that at position k.

        Args:
            k: the position of ``tokens``.
        """
        mask = None if self._mask is None else self._mask[..., : self.width + k + 1]
        return self.policy.forward(self.tokens.unsqueeze(1), mask, self._start + k, self.cache)[:, -1]
