"""The decoding cache against transformers' own: same keys and values, same responses to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from pytest_entropy.policy import kv_cache as decoding_cache
from pytest_entropy.policy import prefill
from tests import tiny


@pytest.mark.parametrize("block", [1, 3, 64])
def test_rows_multiplied_and_dropped_on_the_way(monkeypatch, block):
    monkeypatch.setattr(decoding_cache, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    ours, theirs = decoding_cache.PreallocatedLayer(9), DynamicLayer()

    def step(rows, positions):
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


def test_nothing_is_copied_while_there_is_room():
    layer = decoding_cache.PreallocatedLayer(32)
    layer.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    places = set()
    for _ in range(32):
        keys, _ = layer.update(torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4))
        places.add(keys.data_ptr())
    assert len(places) == 1
    assert layer._tables[0].shape[-2] == 3 + 32


def test_responses_are_those_drawn_with_transformers_cache(monkeypatch):
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    theirs = tiny.sample(policy, tiny.prompts(20), limit=70)
    used = []
    monkeypatch.setattr(prefill, "decoding_cache", lambda *a: used.append(a) or decoding_cache.decoding_cache(*a))
    ours = tiny.sample(replace(policy, static_cache=True), tiny.prompts(20), limit=70)
    assert len(used) == 1
    for name in ("tokens", "lengths", "log_probs", "entropies"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
