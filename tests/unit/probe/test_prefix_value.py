"""The value of a prefix: its moments and ridge by definition, its choice of shrinkage, and its place in the weights."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch

from pytest_entropy.policy import logits, teacher_forcing
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import FOLDS, learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.estimators import weights_for
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.prefix_value import FEATURES, RegressionSums, features, fitted, projection_of
from tests import tiny
from tests.present import present

LIMIT = 10


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


def drawn(policy: Policy, prompts: int, seed: int = 0) -> Rollouts:
    return tiny.sample(policy, tiny.prompts(prompts, seed=seed), G=3, seed=seed, limit=LIMIT)


def data(seed: int, signal: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, two targets of which the second is noise, and weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 5)) * np.arange(1, 6) + 2
    y = signal * (x @ np.array([1.0, -0.5, 0.0, 0.2, 0.1])) + rng.normal(size=300) + 3
    columns = x, np.stack([y, rng.normal(size=300)], -1), rng.random(300)
    return tuple(torch.from_numpy(column) for column in columns)  # type: ignore[return-value]


def test_a_ridge_is_the_least_of_its_penalised_squares() -> None:
    x, y, w = data(0, 1.0)
    moments = RegressionSums.of(x[:100], y[:100], w[:100]).plus(RegressionSums.of(x[100:], y[100:], w[100:]))
    for penalty in (1.0, 50.0):
        slopes, intercepts = moments.ridge(penalty)
        mean = (w[:, None] * x).sum(0) / w.sum()
        spread = ((w[:, None] * (x - mean) ** 2).sum(0) / w.sum()).sqrt()
        b, a = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (slopes, intercepts))
        squares = (w[:, None] * (y - x @ b - a) ** 2).sum(0)
        loss = squares.sum() + penalty * ((b * spread[:, None]) ** 2).sum()
        for gradient in torch.autograd.grad(loss, (b, a)):
            assert float(gradient.abs().max()) < 1e-8
        np.testing.assert_allclose(moments.errors(slopes, intercepts), squares.detach().numpy(), rtol=1e-9)
    slopes, intercepts = moments.constant()
    direct = (w[:, None] * (y - (w[:, None] * y).sum(0) / w.sum()) ** 2).sum(0)
    np.testing.assert_allclose(moments.errors(slopes, intercepts), direct.numpy(), rtol=1e-9)


def test_sums_without_the_rest_are_those_of_the_rest() -> None:
    folds = [RegressionSums.of(*data(seed, 1.0)) for seed in range(3)]
    left = reduce(RegressionSums.plus, folds).plus(folds[1], -1)
    for one, other in zip(vars(left).values(), vars(folds[0].plus(folds[2])).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_each_target_has_a_fit_of_its_own_and_noise_none() -> None:
    folds = [RegressionSums.of(*data(seed, 1.0)) for seed in range(FOLDS)]
    signal, noise = fitted(folds, folds)
    np.testing.assert_allclose(signal.slopes, [1.0, -0.5, 0.0, 0.2, 0.1], atol=0.1)
    assert signal.intercept == pytest.approx(3.0, abs=0.4)
    assert np.abs(noise.slopes).max() < 0.05
    whole = reduce(RegressionSums.plus, folds)
    assert signal.error / whole.weight == pytest.approx(1.0, abs=0.15)
    assert noise.error / whole.weight <= sum(f.errors(*whole.plus(f, -1).constant())[1] for f in folds) / whole.weight


def test_the_shrinkage_is_judged_by_its_own_weights() -> None:
    """Where those who are judged have another slope, nothing of what is fitted is kept."""
    fits = [RegressionSums.of(*data(seed, 1.0)) for seed in range(FOLDS)]
    judged = [RegressionSums.of(*data(10 + seed, -1.0)) for seed in range(FOLDS)]
    signal, _ = fitted(fits, judged)
    assert not signal.slopes.any()


def test_without_features_there_is_a_constant() -> None:
    folds = []
    for seed in range(FOLDS):
        _, y, w = data(seed, 1.0)
        folds.append(RegressionSums.of(y[:, :0], y, w))
    signal, _ = fitted(folds, folds)
    whole = reduce(RegressionSums.plus, folds)
    assert signal.slopes.shape == (0,)
    assert signal.intercept == pytest.approx(whole.y[0] / whole.weight)


@pytest.mark.parametrize("folds", [(0, 1, 2, 3), (0,)])
def test_where_no_token_was_open_nothing_is_fitted(folds: tuple[int, ...]) -> None:
    """Of all folds, and of all but the one that is left out."""
    sums = []
    for seed in range(FOLDS):
        x, y, w = data(seed, 1.0)
        closed = len(folds) == FOLDS or seed not in folds
        sums.append(RegressionSums.of(x, y, torch.zeros_like(w) if closed else w))
    for fit in fitted(sums, sums):
        assert not fit.slopes.any()
        assert fit.intercept == fit.error == 0


def test_features_are_states_so_far() -> None:
    states = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = features(states)
    for g in range(2):
        for k in range(5):
            so_far = states[g, : k + 1]
            expected = torch.cat([states[g, k], states[g, 0], so_far.mean(0), so_far.sum(0)])
            torch.testing.assert_close(found[g, k], expected)


def test_wide_states_are_projected() -> None:
    assert projection_of(FEATURES) is None
    assert present(projection_of(FEATURES + 1)).shape == (FEATURES + 1, FEATURES)


def hidden_of(policy: Policy, prompt: tuple[int, ...], response: list[int]) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        hidden = policy.model.base_model(input_ids=ids).last_hidden_state[0]
    found: torch.Tensor = hidden[len(prompt) - 1 : -1].double()
    return found


@pytest.mark.parametrize("entries", [10**9, 200], ids=["whole", "in pieces"])
def test_the_value_is_a_baseline_of_the_prefix_alone(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(teacher_forcing, "TABLE_ENTRIES", entries)
    monkeypatch.setattr(logits, "POSITIONS", 2 * LIMIT)
    batch, own = drawn(policy, 3), drawn(policy, 4, seed=1)
    plain = learn(batch, LIMIT)
    width = policy.model.config.hidden_size
    tables = replace(plain, value=torch.linspace(-1, 1, 4 * width, dtype=torch.float64).reshape(4, -1))
    with_it, without = (replace(own, control_variate=t) for t in (tables, plain))
    forced = policy.teacher_force(with_it)
    values = present(forced.prefix_values)
    one, other = (weights_for("action_value", policy.teacher_force(r), r).log_prob for r in (with_it, without))
    torch.testing.assert_close((other - one).detach(), values / 3 * own.mask, rtol=1e-6, atol=1e-6)
    for n in range(4):
        for g, response in enumerate(own.responses(n)):
            states = hidden_of(policy, own.prompt_ids[n], response)
            expected = features(states.unsqueeze(0))[0] @ tables.value.flatten()
            torch.testing.assert_close(values[n, g, : len(response)], expected, rtol=1e-5, atol=1e-5)
            assert not values[n, g, len(response) :].any()
    u = tiny.direction(policy)
    fast = directional_derivatives(policy, with_it, u, ["action_value"], chunk_tokens=60).per_prompt["action_value"]
    slow = [by_definition(policy, with_it, n, u, "action_value") for n in range(4)]
    assert fast == pytest.approx(np.array([s.s for s in slow]), abs=1e-6 * max(present(s.size) for s in slow))


def test_a_value_that_does_not_see_ahead(policy: Policy) -> None:
    """Other tokens from k on leave the values up to k as they are."""
    own = drawn(policy, 2, seed=4)
    value = torch.ones(4, policy.model.config.hidden_size, dtype=torch.float64)
    own = replace(own, control_variate=replace(learn(own, LIMIT), value=value))
    k = 3
    changed = own.tokens.clone()
    changed[:, :, k:] = (changed[:, :, k:] + 1) % policy.model.config.vocab_size
    with torch.no_grad():
        one, other = (
            present(policy.teacher_force(replace(own, tokens=t)).prefix_values) for t in (own.tokens, changed)
        )
    torch.testing.assert_close(one[:, :, : k + 1], other[:, :, : k + 1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(one[:, :, k + 1 :], other[:, :, k + 1 :])
