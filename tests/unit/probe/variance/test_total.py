"""The total variance's parts against vectors formed prompt by prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import derivatives_along, directional_derivatives
from pytest_entropy.probe.derivatives.gradient import entropy_gradient, policy_gradient
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.probe.update.batch import UpdateBatch
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.update.objective import advantages
from pytest_entropy.probe.variance import total as module
from pytest_entropy.probe.variance.total import Pairs, TotalVariance, UpdateSide, combine, total_variance
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


@pytest.mark.parametrize(("rule", "clip"), [("preconditioned", None), ("sgd", None), ("adamw", None), ("adamw", 1e-3)])
def test_equals_the_definition_by_vectors(policy: Policy, rule: str, clip: float | None) -> None:
    entropy, batch, line, config = setting(policy, update_rule=rule, max_grad_norm=clip)
    unit = EntropyUnit("sequence", "rao_blackwell")
    u = update_direction(rule, line.gradient, line.state, line.parameters, max_grad_norm=clip)
    s = directional_derivatives(policy, entropy, u, ["rao_blackwell"], chunk_tokens=150).per_prompt["rao_blackwell"]
    mean_x = unit.gradient(policy, entropy, chunk_tokens=150)
    side, pairs = UpdateSide(policy, batch, line, config), Pairs.drawn(6, 5, np.random.default_rng(0))
    got = total_variance(side, entropy, s, mean_x, unit, pairs, eta=ETA)
    x = [entropy_gradient(policy, entropy.select([n]), "rao_blackwell", chunk_tokens=150) for n in range(6)]
    weights = batch.token_weights(config)
    y = [
        line.pushforward(policy_gradient(policy, batch.rollouts.select([p]), 5 * weights[[p]], chunk_tokens=150))
        for p in range(5)
    ]
    cross = np.array([[inner(x_n, y_p) for y_p in y] for x_n in x])
    assert got.entropy_batch == pytest.approx(ETA**2 * s.var(ddof=1) / 6)
    assert got.update_batch == pytest.approx(ETA**2 * cross.mean(0).var(ddof=1) / 5, rel=1e-5)
    sigma = cross - cross.mean(0) - cross.mean(1, keepdims=True) + cross.mean()
    assert got.interaction == pytest.approx(ETA**2 * (sigma**2).sum() / (5 * 4) / (6 * 5), rel=1e-5)
    if rule != "adamw":
        np.testing.assert_allclose(cross.mean(1), s, rtol=1e-4, atol=1e-6 * np.abs(s).max())


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
    got = module.update_parts(
        policy, batch.rollouts, batch.token_weights(config), covector, chunk_tokens=150
    ) - module._shares(batch, config) * inner(covector, line.gradient)
    np.testing.assert_allclose(got - got.mean(), influence - influence.mean(), rtol=1e-3, atol=1e-9)


def test_products_of_the_runs_own_pass_are_those_of_a_pass_of_their_own(policy: Policy) -> None:
    entropy, batch, line, config = setting(policy, update_rule="adamw")
    unit, side = EntropyUnit("sequence", "rao_blackwell"), UpdateSide(policy, batch, line, config)
    u = update_direction("adamw", line.gradient, line.state, line.parameters)
    pairs = Pairs.drawn(6, 5, np.random.default_rng(0))
    vectors = [side.part(p) for p in pairs.update]
    names = [unit.estimator]
    plain = directional_derivatives(policy, entropy, u, names, chunk_tokens=150)
    both = directional_derivatives(policy, entropy, u, names, chunk_tokens=150, also=vectors)
    s, cross = both.per_prompt[unit.estimator], both.along[unit.estimator].T
    np.testing.assert_allclose(s, plain.per_prompt[unit.estimator], rtol=1e-9)
    mean_x = unit.gradient(policy, entropy, chunk_tokens=150)
    apart = total_variance(side, entropy, s, mean_x, unit, pairs, eta=ETA)
    together = total_variance(side, entropy, s, mean_x, unit, pairs, eta=ETA, passed=(vectors, cross))
    for name in ("entropy_batch", "update_batch", "interaction"):
        assert getattr(together, name) == pytest.approx(getattr(apart, name), rel=1e-6), name
    assert present(together.definition) < 1e-6
    # One direction's products in the place of another's.
    swapped = total_variance(side, entropy, s, mean_x, unit, pairs, eta=ETA, passed=(vectors, cross[:, ::-1]))
    assert present(swapped.definition) > 1e-2


@pytest.mark.parametrize("name", ["sequence", "token"])
def test_products_are_compared_with_their_definition_whether_all_prompts_are_paired_or_some(
    policy: Policy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entropy, batch, line, config = setting(policy, update_rule="sgd")
    unit, side = EntropyUnit(name, "rao_blackwell"), UpdateSide(policy, batch, line, config)
    mean_x = unit.gradient(policy, entropy, chunk_tokens=150)
    along = derivatives_along

    def too_large(*arguments: Any, **named: Any) -> dict[str, np.ndarray]:
        return {estimator: 1.01 * values for estimator, values in along(*arguments, **named).items()}

    for some in ([5, 0, 2, 1, 4, 3], [4, 1, 3]):
        found = []
        for computed in (along, too_large):
            monkeypatch.setattr(module, "derivatives_along", computed)
            pairs = Pairs([3, 0, 4], some)
            found.append(present(total_variance(side, entropy, np.ones(6), mean_x, unit, pairs, eta=ETA).definition))
        # Per token only where all are paired: a jackknife of some prompts is not the mean of the others.
        assert found[0] < 1e-6
        assert (found[1] > 1e-4) is (name == "sequence" or len(some) == 6)


def test_equal_rewards_of_the_prompt_that_is_computed_again_are_no_discrepancy(policy: Policy) -> None:
    """Their mean is not exact: g_p is rounding, and the prompt's share of the normaliser is not."""
    entropy, batch, line, config = setting(policy, advantage="bnpo", update_rule="sgd")
    shortest = int(batch.rollouts.lengths.sum(1).argmin())
    rewards = [[0.1] * 3 if p == shortest else row for p, row in enumerate(batch.rewards)]
    assert sum(rewards[shortest]) / 3 != 0.1
    batch = replace(batch, rewards=rewards)
    unit, pairs = EntropyUnit("sequence", "rao_blackwell"), Pairs.drawn(6, 5, np.random.default_rng(0))
    mean_x = unit.gradient(policy, entropy, chunk_tokens=150)
    found = total_variance(UpdateSide(policy, batch, line, config), entropy, np.ones(6), mean_x, unit, pairs, eta=ETA)
    assert present(found.definition) < 1e-6


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
        combine(np.zeros(3), np.zeros(1), np.zeros((3, 2)), eta=1.0)
