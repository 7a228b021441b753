"""The decoding cache against transformers' own: same keys and values, same responses to the last bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pytest_entropy.policy import kv_cache as decoding_cache
from pytest_entropy.policy import prefill
from tests import tiny
from tests.present import present


@pytest.mark.parametrize("block", [1, 3, 64])
def test_rows_multiplied_and_dropped_on_the_way(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(decoding_cache, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    ours, theirs = decoding_cache.PreallocatedLayer(9), DynamicLayer()

    def step(rows: int, positions: int) -> None:
        states = [torch.randn(rows, 2, positions, 4, generator=generator) for _ in range(2)]
        for a, b in zip(ours.update(*states), theirs.update(*states), strict=True):
            assert torch.equal(a, b)
        assert ours.get_seq_length() == theirs.get_seq_length()

    step(3, 5)
    for layer in (ours, theirs):
        layer.batch_repeat_interleave(4)
    for _ in range(4):
        step(12, 1)
    for layer in (ours, theirs):
        layer.batch_select_indices(torch.tensor([0, 3, 7, 8, 11]))
    for _ in range(5):
        step(5, 1)


def test_nothing_is_copied_while_there_is_room() -> None:
    layer = decoding_cache.PreallocatedLayer(32)
    layer.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    places = set()
    for _ in range(32):
        keys, _ = layer.update(torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4))
        places.add(keys.data_ptr())
    assert len(places) == 1
    assert present(layer._tables)[0].shape[-2] == 3 + 32


def test_responses_are_those_drawn_with_transformers_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    theirs = tiny.sample(policy, tiny.prompts(20), limit=70)
    used = []

    def watched(*arguments: Any) -> DynamicCache:
        used.append(arguments)
        return decoding_cache.decoding_cache(*arguments)

    monkeypatch.setattr(prefill, "decoding_cache", watched)
    ours = tiny.sample(replace(policy, static_cache=True), tiny.prompts(20), limit=70)
    assert len(used) == 1
    for name in ("tokens", "lengths", "log_probs", "entropies"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
