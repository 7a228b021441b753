"""Action values q(c, u) of token u in context c: tables fitted to another batch, and their look-up at drawn tokens.

q(c, u) is the sum of a table by token and of a sparse table by context and token.  Source: docs/variance-reduction.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property

import torch

# A token decides if it was drawn with a smaller probability than this; the context is the last one that did.
DECIDES = 0.9
# The context before any token has decided.
NO_CONTEXT = -1
# Larger than any token id: (context, token) as one number.
STRIDE = 2**31


@dataclass(frozen=True)
class ControlVariateTables:
    """Regression tables of the entropy-to-go after a token, fitted to the responses of *another* batch.

    Attributes:
        position: ``[max_new_tokens]`` float64 nats, its mean by position; 0 at positions that no response reached.
        token: ``[T]`` float64 nats, what token u adds to it in any context; 0 for tokens from T on.
        pair_context, pair_token: ``[N]`` int64, context and token of N pairs, in the order of (context, token).
        pair_value: ``[N]`` float64 nats, what the token adds to it in this context beyond ``token``.
        opening: ``[K]`` int64, the first tokens that nearly all responses share, and go on after.
        cleans: scalar float64, 1 where the entropy-to-go is cleaned of later action values, 0 where it is not.
        share: scalar float64 in [0, 1], the share that is taken off of what is left of it, on average, at the same
            position of the group's other responses.
        value: ``[4, H]`` float64 nats, what a prefix adds to it beyond ``position`` per unit of the hidden state that
            the next token is drawn from, of the prompt's, and of the mean and the sum of all such states so far; empty
            for nothing.
    """

    position: torch.Tensor
    token: torch.Tensor
    pair_context: torch.Tensor
    pair_token: torch.Tensor
    pair_value: torch.Tensor
    opening: torch.Tensor
    cleans: torch.Tensor
    share: torch.Tensor
    value: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tables by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def on(self, device: torch.device) -> ControlVariateTables:
        """The tables on a device."""
        if self.token.device == device:
            return self
        moved = ControlVariateTables(**{name: table.to(device) for name, table in self.tensors().items()})
        # Found here, so that no pass over rollouts waits for a GPU.
        vars(moved).update(width=self.width, support=self.support.to(device))
        return moved

    @cached_property
    def width(self) -> int:
        """The largest number of pairs of one context."""
        return int(self.pair_context.unique(return_counts=True)[1].max()) if len(self.pair_context) else 0

    @cached_property
    def support(self) -> torch.Tensor:
        """The token ids that have a value in some context, in order, ``[S]`` int64; token 0 is always among them."""
        ids: torch.Tensor = torch.cat(
            [self.token.nonzero().squeeze(-1), self.pair_token, self.pair_token.new_zeros(1)]
        ).unique()
        return ids

    def added_in(self, contexts: torch.Tensor) -> AddedValues:
        """The pairs of tokens' contexts.

        Args:
            contexts: ``[...]`` int64, on the tables' device.
        """
        first = torch.searchsorted(self.pair_context, contexts)
        last = torch.searchsorted(self.pair_context, contexts, right=True)
        return AddedValues(first, last - first, self.pair_token, self.pair_value, self.width)

    def own(self, contexts: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """q(c_k, t_k) of drawn tokens, float64 nats, in the tokens' shape.

        Args:
            contexts: c_k ``[...]`` int64, on the tables' device.
            tokens: t_k ``[...]`` int64, on the tables' device.
        """
        token = torch.cat([self.token, self.token.new_zeros(1)])
        own = token[tokens.clamp(max=len(self.token))]
        if not len(self.pair_value):
            return own
        keys, wanted = self.pair_context * STRIDE + self.pair_token, contexts * STRIDE + tokens
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return own + torch.where(keys[place] == wanted, self.pair_value[place], 0.0)


@dataclass(frozen=True)
class AddedValues:
    """What contexts add to the action values of a few tokens each: a span of a flat list for each drawn token.

    Attributes:
        first, count: ``[...]`` int64, the span of each drawn token's context.
        ids: ``[N]`` int64, token ids u.
        values: ``[N]`` nats.
        width: the largest count.
    """

    first: torch.Tensor
    count: torch.Tensor
    ids: torch.Tensor
    values: torch.Tensor
    width: int

    def flat(self) -> AddedValues:
        """Those of the same tokens in one dimension."""
        return self._at(self.first.reshape(-1), self.count.reshape(-1))

    def select(self, index: torch.Tensor | slice | tuple[slice, ...]) -> AddedValues:
        """Those of some of the drawn tokens."""
        return self._at(self.first[index], self.count[index])

    def rows(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and values ``[n, width]`` of n drawn tokens in one dimension, padded with token 0 of value 0.

        Args:
            like: a tensor with the values' dtype.
        """
        steps = torch.arange(self.width, device=self.first.device)
        place = (self.first.unsqueeze(-1) + steps).clamp_(max=max(len(self.ids) - 1, 0))
        inside = steps < self.count.unsqueeze(-1)
        return torch.where(inside, self.ids[place], 0), torch.where(inside, self.values[place], 0.0).to(like.dtype)

    def _at(self, first: torch.Tensor, count: torch.Tensor) -> AddedValues:
        return AddedValues(first, count, self.ids, self.values, self.width)


def contexts(tokens: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """c_k: the last token before k that was drawn with a probability below ``DECIDES``, ``[..., L]`` int64.

    It depends on the prefix alone; ``NO_CONTEXT`` where no token before k was.

    Args:
        tokens: t_k ``[..., L]`` int64.
        log_probs: log pi(t_k) ``[..., L]`` as the sampler recorded them, nats.
    """
    positions = torch.arange(tokens.shape[-1], device=tokens.device)
    # In float64, whatever the record's precision: every reader of the record finds the same contexts.
    deciding = torch.where(log_probs.double() < math.log(DECIDES), positions, -1).cummax(-1).values
    before = torch.nn.functional.pad(deciding[..., :-1], (1, 0), value=-1)
    return torch.where(before >= 0, tokens.gather(-1, before.clamp(min=0)), NO_CONTEXT)
