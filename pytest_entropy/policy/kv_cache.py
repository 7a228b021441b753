"""A key/value cache for decoding with preallocated capacity, so that earlier keys and values are not copied per token.

transformers' ``DynamicCache`` concatenates all keys and values again for every token, and its ``StaticCache`` cannot
drop the rows of responses that have ended.  This cache is written in place, grows by blocks, and drops rows.  Responses
are the same to the last bit.  By default (``memory.static_cache``) it is used off the CPU: on the demo's CPU it saves
nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

# Positions by which a full layer grows at a time: growing copies a layer, and 2048 tokens take 8 copies of it.
BLOCK = 256


class PreallocatedLayer(DynamicLayer):
    """A cache layer whose ``keys`` and ``values`` are the used part of larger tables.

    The tables hold at most ``limit`` positions beyond those in use.  The layer is for decoding only, because autograd
    does not support its in-place writes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new positions, and return those of all positions.

        Args:
            key_states, value_states: ``[rows, heads, new positions, head size]``.
            args, kwargs: as transformers passes them.
        """
        before = self.get_seq_length()
        if before == 0:
            # The prompts' states, whose rows are still to be repeated for the responses of each group.
            return super().update(key_states, value_states, *args, **kwargs)
        after = before + key_states.shape[-2]
        tables = self._with_capacity(before, after)
        for table, states in zip(tables, (key_states, value_states), strict=True):
            table[..., before:after, :] = states
        self.keys, self.values = (table[..., :after, :] for table in tables)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows ``indices``, with their capacity."""
        after = self.get_seq_length()
        if self._tables is None:
            super().batch_select_indices(indices)
            return
        self._tables = self._tables[0].index_select(0, indices), self._tables[1].index_select(0, indices)
        self.keys, self.values = (table[..., :after, :] for table in self._tables)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row ``repeats`` times; the tables are allocated again at the next token."""
        super().batch_repeat_interleave(repeats)
        self._tables = None

    def _with_capacity(self, before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
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


def preallocated(device: torch.device) -> bool:
    """Whether the sampler preallocates its cache unless it is told otherwise.

    Args:
        device: of the policy.
    """
    return device.type != "cpu"


def decoding_cache(config: PretrainedConfig, limit: int) -> DynamicCache:
    """An empty cache for prompts and at most ``limit`` response tokens.

    Args:
        config: the model's; layers that are not plain dynamic ones, such as sliding windows, keep their own type.
        limit: the largest number of response tokens.
    """
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer(limit) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def repeat_rows(cache: DynamicCache, rows: int, times: int) -> None:
    """Repeat every row of every layer, copies side by side.

    Args:
        cache: keys and values, or the states of recurrent layers.
        rows: number of rows.
        times: how often each is there afterwards.
    """
    index = torch.arange(rows).repeat_interleave(times)
    layers: list[Any] = list(cache.layers)
    for layer in layers:
        if is_recurrent(layer):
            layer.reorder_cache(index)
        else:
            layer.batch_repeat_interleave(times)


def keep_rows(cache: DynamicCache, index: torch.Tensor) -> None:
    """Keep only the rows ``index`` of every layer, each on its own device.

    Args:
        cache: keys and values ``[rows, heads, positions, head size]``, or the states of recurrent layers; they may lie
            on several devices.
        index: which rows.
    """
    layers: list[Any] = list(cache.layers)
    for layer in layers:
        keys = getattr(layer, "keys", None)
        own = index if keys is None else index.to(keys.device)
        if is_recurrent(layer):
            layer.reorder_cache(own)
        else:
            layer.batch_select_indices(own)


def is_cache(value: Any) -> bool:
    """Whether an argument of a layer is a cache that the layer writes into."""
    return hasattr(value, "get_seq_length") and hasattr(value, "update")


def is_recurrent(layer: Any) -> bool:
    """Whether a layer's cache holds states, whose rows transformers can put into another order only."""
    return hasattr(layer, "recurrent_states")
