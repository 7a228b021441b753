"""Decoding with looks at every token and at some: the same responses, cut at their ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy import attention_mask, distribution, sampling
from pytest_entropy.policy.decoding import LOOK_EVERY, tokens_per_look
from pytest_entropy.policy.policy import Policy
from tests import tiny


@pytest.fixture(scope="module")
def policy() -> Policy:
    made = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    # More end tokens, so that responses end at many places.
    return replace(made, eos_ids=tuple(range(0, int(made.model.config.vocab_size), 12)))


@pytest.mark.parametrize("static_cache", [False, True])
@pytest.mark.parametrize("per_look", [3, 32])
def test_responses_do_not_depend_on_how_often_their_ends_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, per_look: int, static_cache: bool
) -> None:
    policy = replace(policy, static_cache=static_cache)
    each = tiny.sample(policy, tiny.prompts(12), limit=40)
    assert len(each.lengths.unique()) > 10
    monkeypatch.setattr(sampling, "tokens_per_look", lambda device: per_look)
    some = tiny.sample(policy, tiny.prompts(12), limit=40)
    for name in ("tokens", "lengths", "ended"):
        assert torch.equal(getattr(some, name), getattr(each, name)), name
    for name in ("log_probs", "entropies"):
        torch.testing.assert_close(getattr(some, name), getattr(each, name), rtol=0, atol=1e-12)
    assert not some.tokens[~some.mask].any()
    assert not some.log_probs[~some.mask].any()


def test_off_the_cpu_looks_are_rare() -> None:
    assert tokens_per_look(torch.device("cpu")) == 1
    assert tokens_per_look(torch.device("cuda", 0)) == LOOK_EVERY


def test_logits_that_are_not_finite_are_seen_at_the_next_look(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    monkeypatch.setattr(sampling, "tokens_per_look", lambda device: 8)
    draw, calls = distribution.draw_tokens, []

    def spoiled(logits: torch.Tensor, *rest: object) -> object:
        calls.append(len(logits))
        logits = torch.full_like(logits, torch.nan) if len(calls) == 3 else logits
        return draw(logits, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sampling, "draw_tokens", spoiled)
    with pytest.raises(RunError, match="not finite"):
        tiny.sample(policy, tiny.prompts(4), limit=40)
    assert len(calls) == 8


@pytest.mark.parametrize("uneven", [False, True])
def test_responses_are_the_same_with_a_mask_made_ready(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, uneven: bool
) -> None:
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]] if uneven else [[5, 6], [8, 9]]
    shapes: set[tuple[int, ...] | None] = set()
    forward = Policy.forward

    def watched(self: Policy, ids: torch.Tensor, mask: torch.Tensor | None, *rest: object, **named: object) -> object:
        if ids.shape[1] == 1:
            shapes.add(None if mask is None else mask.shape[1:-1])
        return forward(self, ids, mask, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Policy, "forward", watched)
    plain = tiny.sample(policy, prompts, limit=20)
    # The rows left may be those without padding.
    assert shapes - {None} == ({()} if uneven else set())
    shapes.clear()
    assert policy.takes_prepared_mask
    shapes.clear()

    def ready(policy: Policy, prompt_mask: torch.Tensor, limit: int) -> torch.Tensor:
        mask = torch.cat([prompt_mask, prompt_mask.new_ones(len(prompt_mask), limit)], dim=1)
        return mask.bool()[:, None, None]

    monkeypatch.setattr("pytest_entropy.policy.decoding.decoding_mask", ready)
    prepared = tiny.sample(policy, prompts, limit=20)
    assert shapes - {None} == ({(1, 1)} if uneven else set())
    for name in ("tokens", "lengths", "log_probs", "entropies"):
        assert torch.equal(getattr(prepared, name), getattr(plain, name)), name


def test_models_that_make_masks_of_several_kinds_make_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention_mask.takes_prepared_mask(tiny.policy(tiny.qwen2()))
    sliding = tiny.policy(tiny.qwen2(use_sliding_window=True, sliding_window=8, max_window_layers=0))
    assert not attention_mask.takes_prepared_mask(sliding)
    plain = tiny.policy(tiny.qwen2())
    monkeypatch.setattr(plain.model.config, "_attn_implementation", "eager")
    assert not attention_mask.takes_prepared_mask(plain)


def test_a_model_that_gives_other_logits_for_a_mask_made_ready_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(tiny.qwen2())
    forward = Policy.forward

    def ignoring(self: Policy, ids: torch.Tensor, mask: torch.Tensor | None, *rest: object, **named: object) -> object:
        return forward(self, ids, None if mask is not None and mask.ndim == 4 else mask, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Policy, "forward", ignoring)
    assert not attention_mask.takes_prepared_mask(policy)


def test_only_prompts_of_different_lengths_are_padded() -> None:
    assert attention_mask.padding_needed([[1, 2], [3]])
    assert not attention_mask.padding_needed([[1, 2], [3, 4]])
