"""Large vocabularies in pieces: the same numbers as the whole table, in every pass that looks at logits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.policy import distribution, teacher_forcing
from pytest_entropy.policy.logits import PiecewiseLogits, WholeLogits
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.teacher_forcing import padded_tokens, predictions
from pytest_entropy.policy.token_statistics import Asked, token_statistics
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import entropy_gradient
from tests import tiny

ESTIMATORS = ("rao_blackwell", "reinforce_loo", "action_value")


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Three positions of the six prompts' four responses at a time; five rows when drawing."""

    def switch(on: bool = True) -> None:
        monkeypatch.setattr(teacher_forcing, "TABLE_ENTRIES", 3 * 6 * 4 * 60 if on else 2**25)
        monkeypatch.setattr(distribution, "DRAW_ENTRIES", 5 * 60 if on else 2**25)

    return switch


def make(kind: str) -> Policy:
    model = tiny.qwen2(tie_word_embeddings=False)
    if kind == "adapter on the output layer":
        model = tiny.lora(model, target_modules=["q_proj", "down_proj", "lm_head"])
    elif kind == "adapter":
        model = tiny.lora(model)
    return tiny.policy(model, temperature=0.8, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["adapter", "adapter on the output layer", "all weights"])
@pytest.mark.parametrize("threads", [1, 2])
def test_derivatives_in_pieces_are_those_of_the_whole_table(
    small_tables: Callable[..., None], kind: str, threads: int
) -> None:
    policy = make(kind)
    drawn, u = tiny.sample(policy, tiny.prompts(6), limit=14), tiny.direction(policy)
    rollouts = replace(drawn, control_variate=learn(tiny.sample(policy, tiny.prompts(3), limit=14, seed=1), 14))
    uniform = torch.rand(rollouts.tokens.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for on in (False, True):
        small_tables(on)
        tokens = padded_tokens(policy, rollouts)
        assert type(predictions(policy, rollouts, tokens)) is (PiecewiseLogits if on else WholeLogits)
        results.append(
            directional_derivatives(policy, rollouts, u, ESTIMATORS, chunk_tokens=10**6, ranks=uniform, threads=threads)
        )
    whole, pieces = results
    for name in ESTIMATORS:
        np.testing.assert_allclose(pieces.per_prompt[name], whole.per_prompt[name], rtol=1e-9, atol=1e-10)
    for name in ("log_probs", "entropies", "ranks", "surprisal_sd"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=1e-10, atol=1e-10)


def test_gradients_in_pieces_are_those_of_the_whole_table(small_tables: Callable[..., None]) -> None:
    policy = make("adapter on the output layer")
    rollouts = tiny.sample(policy, tiny.prompts(6), limit=14)
    whole = entropy_gradient(policy, rollouts, "rao_blackwell", chunk_tokens=10**6)
    small_tables()
    pieces = entropy_gradient(policy, rollouts, "rao_blackwell", chunk_tokens=10**6)
    for name, g in whole.items():
        torch.testing.assert_close(pieces[name], g, rtol=1e-9, atol=1e-12)


def test_sampling_and_evidence_in_pieces(small_tables: Callable[..., None]) -> None:
    policy = make("adapter")
    whole = tiny.sample(policy, tiny.prompts(6), limit=14)
    evidence = policy.sampler_log_ratios(whole)
    small_tables()
    pieces = tiny.sample(policy, tiny.prompts(6), limit=14)
    assert torch.equal(pieces.tokens, whole.tokens)
    assert torch.equal(pieces.entropies, whole.entropies)
    torch.testing.assert_close(policy.sampler_log_ratios(whole), evidence, rtol=1e-10, atol=1e-10)


def test_a_model_that_changes_its_logits_afterwards_is_asked_for_all_of_them(
    small_tables: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make("adapter")
    small_tables()
    rollouts = tiny.sample(policy, tiny.prompts(6), limit=14)
    before = policy.teacher_force(rollouts).log_probs
    forward = policy.model.forward

    @functools.wraps(forward)
    def capped(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = 0.5 * torch.tanh(out.logits / 0.5)
        return out

    monkeypatch.setattr(policy.model, "forward", capped)
    other = Policy(policy.model, None, policy.trainable, policy.eos_ids, policy.temperature)  # type: ignore[arg-type]
    assert isinstance(predictions(other, rollouts, padded_tokens(other, rollouts)), WholeLogits)
    assert not torch.allclose(other.teacher_force(rollouts).log_probs, before)


def test_no_table_of_logits_is_made_that_is_larger_than_allowed(small_tables: Callable[..., None]) -> None:
    """In forward and in backward: the largest output of the output layer."""
    policy = make("adapter")
    rollouts, u = tiny.sample(policy, tiny.prompts(6), limit=14), tiny.direction(policy)
    small_tables()
    assert policy.plain_head
    sizes = []
    handle = policy.model.lm_head.register_forward_hook(lambda module, args, out: sizes.append(out.numel()))
    directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10**6)
    handle.remove()
    # Prefill makes none; every piece is made once forward and once for backward.
    assert max(sizes) <= 3 * 6 * 4 * 60
    assert len(sizes) == 2 * -(-rollouts.tokens.shape[2] // 3)


def test_bfloat16_base_with_float32_adapter_is_scored_in_float32(small_tables: Callable[..., None]) -> None:
    model = tiny.lora(tiny.qwen2())
    for p in model.parameters():
        p.data = p.data.float() if p.requires_grad else p.data.bfloat16()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    policy = Policy(model, None, trainable, (1,))  # type: ignore[arg-type]
    u = tiny.direction(policy)
    results = []
    for on in (False, True):
        small_tables(on)
        rollouts = tiny.sample(policy, tiny.prompts(6), limit=14)
        assert rollouts.log_probs.dtype == rollouts.entropies.dtype == torch.float32
        assert {p.dtype for p in policy.trainable.values()} == {torch.float32}
        results.append(directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10**6))
    whole, pieces = results
    assert whole.log_probs.dtype == torch.float32
    # Activations and their gradients are bfloat16: both are off float64 by 1 to 16 % of the typical size.
    one, other = (found.per_prompt["rao_blackwell"] for found in (whole, pieces))
    assert np.sqrt(np.mean((one - other) ** 2) / np.mean(one**2)) < 0.25


@pytest.mark.parametrize("grad", [True, False])
def test_the_head_is_given_rows_that_lie_together(grad: bool) -> None:
    """A slice of positions does not; then the product is made row by row, each with all of the vocabulary's weights."""
    torch.manual_seed(0)
    head, hidden, own = torch.nn.Linear(16, 60, bias=False), torch.randn(6, 7, 16), torch.randint(60, (2, 3, 7))
    given = []
    head.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    pieces = PiecewiseLogits(hidden.requires_grad_(grad), head, group=3, positions=2)

    with torch.set_grad_enabled(grad):
        log_probs, nats, *_ = pieces.statistics(Asked(1.0), own, torch.ones(own.shape, dtype=torch.bool), None)
    if grad:
        log_probs.sum().backward()
    made = torch.cat([logits for _, logits in pieces.pieces()], dim=2)
    assert len(given) >= 8
    assert all(rows.is_contiguous() for rows in given)
    # To rounding, the numbers of a product row by row.
    rows = torch.stack([head.weight @ row.T for row in hidden.detach()]).mT.reshape(2, 3, 7, 60)
    torch.testing.assert_close(made.detach(), rows.detach(), rtol=0, atol=1e-5)
    expected = token_statistics(rows, own, Asked(1.0))
    torch.testing.assert_close(log_probs, expected[0], rtol=0, atol=1e-5, check_device=False)
    torch.testing.assert_close(nats, expected[1], rtol=0, atol=1e-5)


def test_long_responses_are_computed_with_their_prompt_where_no_padding_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    even, uneven = tiny.sample(policy, [[5, 6], [7, 8]]), tiny.sample(policy, [[5, 6], [7]])
    shared, calls = teacher_forcing._shared, []

    def counted(*given: Any) -> torch.Tensor:
        calls.append(given)
        return shared(*given)

    monkeypatch.setattr(teacher_forcing, "_shared", counted)
    scores, u = [], tiny.direction(policy)
    for long in (256, 5):
        monkeypatch.setattr(teacher_forcing, "LONG", long)
        monkeypatch.setattr(teacher_forcing, "LONG_SHARE", 2)
        for rollouts in (even, uneven):
            calls.clear()
            found = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10_000)
            scores.append((len(calls), found.per_prompt["rao_blackwell"], found.entropies))
    assert [count for count, *_ in scores] == [1, 1, 0, 1]
    for before, after in ((scores[0], scores[2]), (scores[1], scores[3])):
        # Rotary angles are float32 in transformers.
        np.testing.assert_allclose(after[1], before[1], rtol=0, atol=1e-5 * np.abs(before[1]).max())
        torch.testing.assert_close(after[2], before[2], rtol=1e-5, atol=1e-6)


def test_a_padding_token_without_logits_does_not_hide_that_they_are_bounded() -> None:
    """Of zeros tanh is zero: on the padding token alone the output layer would look plain."""
    policy = tiny.policy(tiny.qwen2())
    forward: Any = policy.model.forward
    head: Any = policy.model.get_output_embeddings()
    embedding: Any = policy.model.get_input_embeddings()

    def bounded(*arguments: Any, **named: Any) -> Any:
        out = forward(*arguments, **named)
        out.logits = 0.1 * torch.tanh(out.logits / 0.1)
        return out

    assert policy.plain_head
    with torch.no_grad():
        head.weight[0] = 0
        embedding.weight[0] = 0
    vars(policy).pop("plain_head")
    vars(policy.model)["forward"] = bounded
    assert not policy.plain_head
