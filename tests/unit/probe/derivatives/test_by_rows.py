"""A group computed a few responses at a time gives the numbers of the whole group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.by_rows import rows_within, scored_in_turn, splits
from pytest_entropy.probe.derivatives.derivative_piece import DerivativePiece, PieceDerivatives
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import GradientPiece, policy_gradient
from pytest_entropy.probe.derivatives.objectives import Loss, Surrogate
from pytest_entropy.probe.diagnostics.finite_steps import totals_at_theta
from pytest_entropy.probe.diagnostics.importance_sampling import sequence_totals
from pytest_entropy.probe.oracles.hooks import plain_backward
from tests import tiny

EVERY = ("action_value", "rao_blackwell", "reinforce_loo", "score")
G = 5


@pytest.fixture(scope="module", params=["lora", pytest.param("dora", marks=pytest.mark.slow), "full"])
def policy(request: pytest.FixtureRequest) -> Policy:
    model = tiny.qwen2()
    if request.param != "full":
        model = tiny.lora(model, use_dora=request.param == "dora")
    return tiny.policy(model, dtype=torch.float64)


@pytest.fixture(scope="module")
def rollouts(policy: Policy) -> Rollouts:
    drawn = tiny.sample(policy, tiny.prompts(3), G=G)
    return replace(drawn, control_variate=learn(tiny.sample(policy, tiny.prompts(3, seed=9), seed=5), 10))


def same(found: Any, expected: Any) -> None:
    """Equal up to rotary angles, which the model computes in float32: relative to the largest number."""
    found, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def close(left: PieceDerivatives, right: PieceDerivatives) -> None:
    for name, values in right.per_prompt.items():
        same(left.per_prompt[name], values)
    same(left.first_surprises, right.first_surprises)
    for name in ("log_probs", "entropies", "ranks", "surprisal_sd"):
        if getattr(right.forced, name) is not None:
            same(getattr(left.forced, name), getattr(right.forced, name))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_derivatives(policy: Policy, rollouts: Rollouts, rows: int) -> None:
    ranks = torch.rand(rollouts.tokens.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    piece = DerivativePiece(rollouts, (tiny.direction(policy), tiny.direction(policy, seed=1)), EVERY, ranks=ranks)
    close(replace(piece, rows=rows).compute(policy), piece.compute(policy))


def test_derivatives_of_a_loss(policy: Policy, rollouts: Rollouts) -> None:
    weights = torch.randn(3, G, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    piece = DerivativePiece(rollouts, (tiny.direction(policy),), sequence_weights={"w": weights})
    close(replace(piece, rows=2).compute(policy), piece.compute(policy))


def test_the_vector_from_the_same_backward(policy: Policy, rollouts: Rollouts) -> None:
    piece = DerivativePiece(rollouts, (tiny.direction(policy),), EVERY, gradient_of="action_value")
    whole, parts = piece.compute(policy).gradient, replace(piece, rows=2).compute(policy).gradient
    assert whole.keys() == parts.keys()
    for name, g in whole.items():
        same(parts[name], g)


@pytest.mark.parametrize("rows", [1, 2])
def test_gradients(policy: Policy, rollouts: Rollouts, rows: int) -> None:
    random = torch.Generator().manual_seed(2)
    loss = Loss(torch.randn(3, G, dtype=torch.float64, generator=random))
    surrogate = Surrogate({n: torch.randn(3, dtype=torch.float64, generator=random) for n in ("action_value", "score")})
    for objectives in ((loss,), (loss, surrogate)):
        piece: Any = GradientPiece(rollouts, objectives)
        for whole, parts in zip(piece.compute(policy), replace(piece, rows=rows).compute(policy), strict=True):
            assert whole.keys() == parts.keys()
            for name, g in whole.items():
                same(parts[name], g)


def test_a_budget_below_a_group_splits_it(policy: Policy, rollouts: Rollouts) -> None:
    u = tiny.direction(policy)
    weights = torch.ones(3, G, dtype=torch.float64)
    found = {
        budget: (
            directional_derivatives(policy, rollouts, u, EVERY, chunk_tokens=budget).per_prompt,
            policy_gradient(policy, rollouts, weights, chunk_tokens=budget),
        )
        for budget in (10_000, 30, 1)
    }
    for budget in (30, 1):
        for name in EVERY:
            same(found[budget][0][name], found[10_000][0][name])
        for name, g in found[10_000][1].items():
            same(found[budget][1][name], g)


@pytest.mark.parametrize("budget", [10_000, 30])
def test_totals_at_theta_have_the_bits_of_a_pass_without_derivatives(
    policy: Policy, rollouts: Rollouts, budget: int
) -> None:
    found = directional_derivatives(policy, rollouts, tiny.direction(policy), ["score"], chunk_tokens=budget)
    assert splits(rollouts, budget) == (budget == 30)
    at_theta = totals_at_theta(policy, rollouts, found, chunk_tokens=budget, threads=1)
    again = sequence_totals(policy, rollouts, chunk_tokens=budget)
    np.testing.assert_array_equal(at_theta.sequence, again.sequence)
    np.testing.assert_array_equal(at_theta.nats, again.nats)


def test_the_self_checks_backward(policy: Policy, rollouts: Rollouts) -> None:
    one, u = rollouts.select([1]), tiny.direction(policy)
    same(plain_backward(policy, one, u, "action_value", rows=2), plain_backward(policy, one, u, "action_value"))


def test_scores_in_turn_are_the_groups(policy: Policy, rollouts: Rollouts) -> None:
    with torch.no_grad():
        whole = policy.teacher_force(rollouts)
    parts = scored_in_turn(policy, rollouts, 2)
    for name in ("log_probs", "entropies", "expected_values", "likeliest"):
        same(getattr(parts, name), getattr(whole, name))


def test_how_many_rows_a_budget_allows(rollouts: Rollouts) -> None:
    one = rollouts.select([0])
    prompt, longest = len(one.prompt_ids[0]), one.tokens.shape[2]
    assert rows_within(one, prompt + G * longest) == G
    assert rows_within(one, prompt + G * longest - 1) == G - 1
    assert rows_within(one, 1) == 1
    assert rows_within(rollouts, 1) == G  # several prompts are cut by prompts


def test_a_lesser_piece_takes_half_as_many_responses_until_it_takes_one(rollouts: Rollouts) -> None:
    piece: Any = DerivativePiece(rollouts.select([0]), ())
    rows = []
    while (piece := piece.lesser()) is not None:
        rows.append(piece.rows)
    assert rows == [3, 2, 1]
