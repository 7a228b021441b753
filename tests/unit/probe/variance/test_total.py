"""The total variance's parts against vectors formed prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import entropy_gradient, policy_gradient
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.probe.update.batch import UpdateBatch
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.update.objective import advantages
from pytest_entropy.probe.variance import total as module
from pytest_entropy.probe.variance.total import (
    EntropySide,
    TotalVariance,
    UpdateSide,
    combine,
    halves,
    total_variance,
)
from pytest_entropy.settings.probe import ProbeConfig
from tests import tiny
from tests.present import present

ETA, LIMIT = 0.1, 8


def optimizer_state(policy: Policy) -> dict[str, ParameterState]:
    generator = torch.Generator().manual_seed(3)

    def draw(p: torch.nn.Parameter, scale: float) -> torch.Tensor:
        return scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)

    return {
        name: ParameterState(
            step=9, exp_avg=draw(p, 1e-2), exp_avg_sq=draw(p, 1e-1).square(), lr=ETA, betas=(0.9, 0.999), eps=1e-8,
            weight_decay=0.01,
        )
        for name, p in policy.trainable.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


def setting(policy: Policy, **options: Any) -> tuple[Rollouts, UpdateBatch, Linearisation, ProbeConfig]:
    """(E's rollouts, U as a batch, du/dg, configuration)."""
    config = ProbeConfig(B_U=5, G=3, max_new_tokens=LIMIT, chunk_tokens=150, **options)
    entropy = tiny.sample(policy, tiny.prompts(6), G=3, limit=LIMIT)
    update = tiny.sample(policy, tiny.prompts(5, seed=1), G=3, limit=LIMIT, seed=1)
    rewards = np.random.default_rng(0).random((5, 3)).tolist()
    batch = UpdateBatch(tuple("abcde"), update, rewards, seed=1)
    state = optimizer_state(policy)
    line = Linearisation(
        config.update_rule, batch.gradient(policy, config), state, dict(policy.trainable), config.max_grad_norm
    )
    return entropy, batch, line, config


def entropy_side(policy: Policy, entropy: Rollouts, unit: EntropyUnit, u: Mapping[str, torch.Tensor]) -> EntropySide:
    """E's side by a derivative pass and gradients of their own."""
    passed = directional_derivatives(policy, entropy, u, unit.estimators, chunk_tokens=150).per_prompt
    means, along_u = [], []
    for half in halves(len(entropy)):
        part = entropy.select(half)
        means.append(unit.gradient(policy, part, chunk_tokens=150))
        along_u.append(float(unit.values({name: v[half] for name, v in passed.items()}, part).mean()))
    return EntropySide(unit.values(passed, entropy), (means[0], means[1]), (along_u[0], along_u[1]))


@pytest.mark.parametrize(("rule", "clip"), [("preconditioned", None), ("sgd", None), ("adamw", None), ("adamw", 1e-3)])
def test_equals_the_definition_by_vectors(policy: Policy, rule: str, clip: float | None) -> None:
    entropy, batch, line, config = setting(policy, update_rule=rule, max_grad_norm=clip)
    unit = EntropyUnit("sequence", "rao_blackwell")
    u = update_direction(rule, line.gradient, line.state, line.parameters, max_grad_norm=clip)
    side = entropy_side(policy, entropy, unit, u)
    got = total_variance(UpdateSide(policy, batch, line, config), side, u, eta=ETA)
    x = [entropy_gradient(policy, entropy.select([n]), "rao_blackwell", chunk_tokens=150) for n in range(6)]
    weights = batch.token_weights(config)
    y = [
        line.pushforward(policy_gradient(policy, batch.rollouts.select([p]), 5 * weights[[p]], chunk_tokens=150))
        for p in range(5)
    ]
    cross = np.array([[inner(x_n, y_p) for y_p in y] for x_n in x])
    assert got.entropy_batch == pytest.approx(ETA**2 * side.s.var(ddof=1) / 6)
    assert got.update_batch == pytest.approx(ETA**2 * cross.mean(0).var(ddof=1) / 5, rel=1e-5)
    of_halves = np.cov(cross[::2].mean(0), cross[1::2].mean(0))
    assert got.interaction == pytest.approx(got.update_batch - ETA**2 * of_halves[0, 1] / 5, rel=1e-5)
    assert present(got.definition) < 1e-6
    if rule != "adamw":
        np.testing.assert_allclose(cross.mean(1), side.s, rtol=1e-4, atol=1e-6 * np.abs(side.s).max())


def test_the_interaction_is_that_of_all_pairs_on_average() -> None:
    """tr(Sigma_x Sigma_y) / (B_E B_U) over batches of vectors with known covariances, and its standard error."""
    rng, eta, parts = np.random.default_rng(0), 0.5, []
    for _ in range(4000):
        x, y = 1 + rng.standard_normal((9, 3)), 1 + 2 * rng.standard_normal((6, 3))
        products = np.stack([x[list(half)].mean(0) @ y.T for half in halves(9)], axis=1)
        parts.append(combine(x @ y.mean(0), products, eta=eta))
    interaction = np.array([part.interaction for part in parts])
    expected = eta**2 * 3 * 1 * 4 / (9 * 6)
    assert abs(interaction.mean() - expected) < 4 * interaction.std() / 4000**0.5
    totals = np.array([part.total for part in parts])
    # A + B + T, with <nu, nu> = <mu, mu> = 3.
    assert abs(totals.mean() - (eta**2 * (3 / 9 + 3 * 4 / 6) + expected)) < 4 * totals.std() / 4000**0.5
    # The noise of the halves' vectors, which all prompts share, is not counted: the error is somewhat small.
    error = np.sqrt(np.mean([present(part.standard_error) ** 2 for part in parts]))
    of_updates = np.array([part.update_batch - part.interaction for part in parts])
    assert 0.7 < error / of_updates.std() < 1.1


@pytest.mark.parametrize(("advantage", "scaling"), [("dapo", None), ("dapo", "batch"), ("dr_grpo", "batch")])
def test_what_is_normalised_over_the_batch_is_linearised(policy: Policy, advantage: str, scaling: str | None) -> None:
    """<v, g> with prompt p counted 1 + h times, differentiated by h, is p's part of it."""
    entropy, batch, line, config = setting(policy, advantage=advantage, scale_rewards=scaling, update_rule="sgd")
    covector = entropy_gradient(policy, entropy, "rao_blackwell", chunk_tokens=150)
    rewards = np.array(batch.rewards)
    lengths = batch.rollouts.lengths.numpy()
    raw = advantages(torch.tensor(rewards), "group" if scaling is None else "none")
    slope = -directional_derivatives(
        policy, batch.rollouts, covector, (), chunk_tokens=150, sequence_weights={"raw": raw}
    ).per_prompt["raw"]

    def value(counts: np.ndarray) -> float:
        share = counts / counts.sum()
        tokens = (share * lengths.sum(1)).sum() if advantage == "dapo" else 3 * LIMIT
        mean = (share * rewards.mean(1)).sum()
        variance = (share * ((rewards - mean) ** 2).mean(1)).sum() * 15 / 14
        return float((share * slope).sum() / tokens / (variance**0.5 + 1e-4 if scaling else 1.0))

    h = 1e-5
    ones = np.ones(5)
    influence = np.array([(value(ones + h * e) - value(ones - h * e)) / (2 * h) for e in np.eye(5)]) * 5
    parts = module.update_parts(policy, batch.rollouts, batch.token_weights(config), [covector], chunk_tokens=150)
    got = parts[:, 0] - module._shares(batch, config) * inner(covector, line.gradient)
    np.testing.assert_allclose(got - got.mean(), influence - influence.mean(), rtol=1e-3, atol=1e-9)


def test_vectors_of_the_runs_own_pass_are_those_of_passes_of_their_own(policy: Policy) -> None:
    entropy, _, line, _ = setting(policy, update_rule="adamw")
    unit = EntropyUnit("sequence", "rao_blackwell")
    u = update_direction("adamw", line.gradient, line.state, line.parameters)
    passed = directional_derivatives(
        policy, entropy, u, unit.estimators, chunk_tokens=150, gradient_of="rao_blackwell", groups=halves(6)
    )
    apart = entropy_side(policy, entropy, unit, u)
    np.testing.assert_allclose(passed.per_prompt["rao_blackwell"], apart.s, rtol=1e-9)
    for summed, mean in zip(passed.gradients, apart.means, strict=True):
        for name, x in mean.items():
            torch.testing.assert_close(summed[name] / 3, x, rtol=1e-5, atol=1e-5 * float(x.abs().max()))


@pytest.mark.parametrize("at_once", [1, 2])
def test_two_directions_are_taken_along_at_once_or_one_by_one(
    policy: Policy, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entropy, batch, line, config = setting(policy, update_rule="sgd")
    unit = EntropyUnit("sequence", "rao_blackwell")
    side = entropy_side(policy, entropy, unit, line.gradient)
    expected, _ = UpdateSide(policy, batch, line, config).products(side.means)
    monkeypatch.setattr(module, "directions_at_once", lambda policy: at_once)
    got, gaps = UpdateSide(policy, batch, line, config).products(side.means)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert max(gaps) < 1e-6


@pytest.mark.parametrize("name", ["sequence", "token"])
def test_products_and_vectors_are_compared_with_their_definitions(policy: Policy, name: str) -> None:
    entropy, batch, line, config = setting(policy, update_rule="sgd")
    unit, update = EntropyUnit(name, "rao_blackwell"), UpdateSide(policy, batch, line, config)
    u = line.pushforward(line.gradient)
    side = entropy_side(policy, entropy, unit, u)
    assert present(total_variance(update, side, u, eta=ETA).definition) < 1e-6
    exchanged = replace(side, means=side.means[::-1])
    assert present(total_variance(update, exchanged, u, eta=ETA).definition) > 1e-3
    # One half's vector of the whole batch's prompts.
    whole = replace(side, means=(unit.gradient(policy, entropy, chunk_tokens=150), side.means[1]))
    assert present(total_variance(update, whole, u, eta=ETA).definition) > 1e-3


def test_equal_rewards_of_the_prompt_that_is_computed_again_are_no_discrepancy(policy: Policy) -> None:
    """Their mean is not exact: g_p is rounding, and the prompt's share of the normaliser is not."""
    entropy, batch, line, config = setting(policy, advantage="bnpo", update_rule="sgd")
    shortest = int(batch.rollouts.lengths.sum(1).argmin())
    rewards = [[0.1] * 3 if p == shortest else row for p, row in enumerate(batch.rewards)]
    assert sum(rewards[shortest]) / 3 != 0.1
    batch = replace(batch, rewards=rewards)
    side = entropy_side(policy, entropy, EntropyUnit("sequence", "rao_blackwell"), line.gradient)
    products, gaps = UpdateSide(policy, batch, line, config).products(side.means)
    assert products.shape == (5, 2)
    assert max(gaps) < 1e-6


def test_below_its_larger_part_the_estimate_is_said_and_that_part_gives_the_standard_error() -> None:
    for parts, larger in (((1.0, 2.0, 4.0), 2.0), ((3.0, 0.5, 1.0), 3.0)):
        variance = TotalVariance(*parts)
        assert variance.total == sum(parts[:2]) - parts[2]
        assert variance.se == pytest.approx(larger**0.5)
        assert f"({variance.total:.3g} = " in variance.notes[0]
    assert TotalVariance(1.0, 2.0, 0.5).se == pytest.approx(2.5**0.5)
    assert not TotalVariance(1.0, 2.0, 0.5).notes


def test_one_prompt_has_no_variance() -> None:
    with pytest.raises(ValueError, match="B_U 1"):
        combine(np.zeros(3), np.zeros((1, 2)), eta=1.0)
