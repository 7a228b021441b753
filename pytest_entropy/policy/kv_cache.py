"""A key/value cache with capacity for the tokens to come, for decoding: what is there already is not copied again.

transformers' ``DynamicCache`` concatenates all keys and values anew for every token.  Its ``StaticCache`` cannot lose
rows when responses end.  This one is written in place, grows by blocks, and drops rows.  Responses are the same to
the last bit.  On the demo's CPU it saves nothing, so it is off by default: ``memory.static_cache``.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

# Positions a full layer grows by at a time.
BLOCK = 64


class RoomyLayer(DynamicLayer):
    """A layer whose ``keys`` and ``values`` are the used front of larger tables; at most ``limit`` positions more.

    Only for decoding: it writes in place, which no gradient survives.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the states of new positions; gives all of them."""
        before = self.get_seq_length()
        if before == 0:
            # The prompts, whose rows are yet to be multiplied.
            return super().update(key_states, value_states, *args, **kwargs)
        after = before + key_states.shape[-2]
        tables = self._with_room(before, after)
        for table, states in zip(tables, (key_states, value_states), strict=True):
            table[..., before:after, :] = states
        self.keys, self.values = (table[..., :after, :] for table in tables)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, and the capacity they have."""
        after = self.get_seq_length()
        if self._tables is None:
            super().batch_select_indices(indices)
            return
        self._tables = self._tables[0].index_select(0, indices), self._tables[1].index_select(0, indices)
        self.keys, self.values = (table[..., :after, :] for table in self._tables)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row ``repeats`` times; the tables are made anew with the next token."""
        super().batch_repeat_interleave(repeats)
        self._tables = None

    def _with_room(self, before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
        tables = self._tables
        if tables is None or tables[0].shape[-2] < after:
            capacity = max(after, before + min(BLOCK, self.limit))
            assert self.keys is not None
            assert self.values is not None
            tables = self._grown(self.keys, before, capacity), self._grown(self.values, before, capacity)
            self._tables = tables
        return tables

    @staticmethod
    def _grown(states: torch.Tensor, before: int, capacity: int) -> torch.Tensor:
        table = states.new_empty(*states.shape[:-2], capacity, states.shape[-1])
        table[..., :before, :] = states
        return table


def decoding_cache(config: PretrainedConfig, limit: int) -> DynamicCache:
    """An empty cache for prompts and at most ``limit`` tokens after them; layers of other kinds stay as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(limit) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
