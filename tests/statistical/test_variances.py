"""Biases and variances of the estimators on the enumerable policy, against exact moments and brute force.

Each assertion is a claim about an expectation, with the Monte Carlo error of what it is compared with asserted
to be small: 3 % is more than four of its standard errors, so a correct estimator fails with probability below
1e-4 per assertion, and a bias of 6 % passes with no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.measure.entropy_unit import LENGTH, token_derivative
from pytest_entropy.probe.measure.u_statistic import UStatistic
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.variance.total import combine
from tests import enumerable, tiny
from tests.present import present
from tests.statistical.enumerated_batches import LIMIT, moments, population, sample, table

TOLERANCE, ERRORS = 0.03, 4


def require_close(estimate: float, true: float, error: float) -> None:
    """estimate = true within 3 %, where 3 % is more than four Monte Carlo standard errors."""
    assert ERRORS * error <= TOLERANCE * true, f"too few replications: {error / true:.2%} of the true value"
    assert abs(estimate / true - 1) < TOLERANCE


def standard_error(values: np.ndarray | Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def require_unbiased(values: np.ndarray | Sequence[float], true: float) -> None:
    assert abs(np.mean(values) - true) < ERRORS * standard_error(values)


# ---------------------------------------------------------------------- the tabulated policy is the policy


def test_the_table_gives_what_the_backward_pass_gives() -> None:
    policy = enumerable.policy()
    u = tiny.direction(policy)
    rollouts = tiny.sample(policy, enumerable.random_prompts(50, seed=2), G=3, limit=LIMIT, seed=1)
    passed = directional_derivatives(policy, rollouts, u, ["rao_blackwell", "reinforce_loo"], chunk_tokens=500)
    batch = sample(50, 3, np.random.default_rng(0))
    prompts = [enumerable.PROMPTS.index(list(ids)) for ids in rollouts.prompt_ids]
    same = type(batch)(np.array(prompts), prefixes_of(rollouts), rollouts.tokens.numpy(), rollouts.mask.numpy())
    for name, s in passed.per_prompt.items():
        expected = same.entropy_parts(name) @ (table().gradients @ table().flat(u))
        np.testing.assert_allclose(s, expected, atol=1e-5 * np.abs(s).max())


def prefixes_of(rollouts: Rollouts) -> np.ndarray:
    from tests.statistical.enumerated_batches import PREFIXES

    out = np.zeros(rollouts.tokens.shape, dtype=int)
    for n in range(len(rollouts)):
        for g, response in enumerate(rollouts.responses(n)):
            out[n, g, : len(response)] = [PREFIXES.index(tuple(response[:k])) for k in range(len(response))]
    return out


def test_exact_means_are_the_gradients_of_enumerated_expectations() -> None:
    policy = enumerable.policy()
    gradients, flat = table().gradients, table().flat
    entropy = flat(enumerable.gradient(policy, enumerable.entropy(policy)))
    np.testing.assert_allclose(moments().mean_x @ gradients, entropy, atol=1e-5 * np.abs(entropy).max())
    reward = torch.stack(
        [
            enumerable.expectation(policy, p, lambda response, _: response.count(2) - 0.3 * len(response))
            for p in enumerable.PROMPTS
        ]
    ).mean()
    # dr_grpo with G = 2: the group's own mean takes half of the advantage.
    slope = flat(enumerable.gradient(policy, reward)) / 2 / LIMIT
    np.testing.assert_allclose(moments().mean_g @ gradients, -slope, atol=1e-5 * np.abs(slope).max())


# ---------------------------------------------------------------------- biases


@pytest.mark.slow
def test_no_estimator_is_biased_at_a_hundred_thousand_prompts() -> None:
    policy = enumerable.policy()
    u = tiny.direction(policy)
    unbiased = ["rao_blackwell", "rao_blackwell_no_baseline", "reinforce_loo", "importance_sampled"]
    names = [*unbiased, "score", LENGTH]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in [*names, "nats", "lengths"]}
    for seed in range(25):
        rollouts = tiny.sample(policy, enumerable.random_prompts(4000, seed=seed), G=2, limit=LIMIT, seed=seed)
        passed = directional_derivatives(policy, rollouts, u, names, chunk_tokens=40_000).per_prompt
        for name in names:
            columns[name].append(passed[name])
        columns["nats"].append(rollouts.entropies.sum(-1).mean(1).numpy())
        columns["lengths"].append(rollouts.lengths.double().mean(1).numpy())
    got = {name: np.concatenate(parts) for name, parts in columns.items()}
    entropy, length = enumerable.entropy(policy), enumerable.length(policy)
    along = enumerable.dot(enumerable.gradient(policy, entropy), u)
    for name in unbiased:
        require_unbiased(got[name], along)
    require_unbiased(got["score"], 0.0)
    require_unbiased(got[LENGTH], enumerable.dot(enumerable.gradient(policy, length), u))
    ratio = enumerable.entropy(policy) / enumerable.length(policy)
    per_token = enumerable.dot(enumerable.gradient(policy, ratio), u)
    keys = ("rao_blackwell", LENGTH, "nats", "lengths")
    batches = [token_derivative(*(got[key][i : i + 10] for key in keys)) for i in range(0, len(got["nats"]), 10)]
    require_unbiased([batch.corrected for batch in batches], per_token)


def u_statistics(B: int, replications: int, rng: np.random.Generator, chunk: int = 200) -> list[UStatistic]:
    """U-statistics of batches of B prompts, G = 2, ``sgd``: the same arithmetic as the probe's, on the table."""
    gram = -table().gradients @ table().gradients.T
    out = []
    for _ in range(replications // chunk):
        batch = sample(chunk * B, 2, rng)
        x = batch.entropy_parts().reshape(chunk, B, -1)
        y = (batch.update_parts(batches=chunk)[0] @ gram).reshape(chunk, B, -1)
        by_x, by_y = np.einsum("rbi,ri->rb", x, y.mean(1)), np.einsum("rbi,ri->rb", y, x.mean(1))
        own = np.einsum("rbi,rbi->rb", x, y)
        rows = (B * (by_x + by_y) / 2 - own) / (B - 1)
        out += [
            UStatistic(B, row, float(a.mean()), float(d.mean()), 0.0) for row, a, d in zip(rows, by_x, own, strict=True)
        ]
    return out


def exact_u_statistic() -> tuple[float, float, float]:
    """(theta, variance of its projection zeta_1, variance of the kernel zeta_2) by enumeration."""
    batch, probability = population()
    x = batch.entropy_parts() @ table().gradients
    y = -batch.update_parts()[0] @ table().gradients
    mean_x, mean_y = probability @ x, probability @ y
    theta = float(mean_x @ mean_y)
    projection = (x @ mean_y + y @ mean_x) / 2
    zeta_1 = float(probability @ (projection - theta) ** 2)

    def second(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        moment: np.ndarray = (left * probability[:, None]).T @ right
        return moment

    crossed = second(x, y)
    squared = 0.5 * float((second(x, x) * second(y, y)).sum()) + 0.5 * float((crossed * crossed.T).sum())
    return theta, zeta_1, squared - theta**2


@pytest.mark.slow
def test_the_u_statistic_is_unbiased_and_the_v_statistic_is_not() -> None:
    theta, _, _ = exact_u_statistic()
    results = u_statistics(8, 20_000, np.random.default_rng(1))
    require_unbiased([result.value for result in results], theta)
    require_unbiased([result.pseudo_values.mean() for result in results], theta)
    kept = [result.plug_in for result in results]
    assert abs(np.mean(kept) - theta) > 10 * standard_error(kept)


# ---------------------------------------------------------------------- variances


@pytest.mark.slow
def test_variance_of_the_u_statistic() -> None:
    """The pseudo-values' is the jackknife's, and no smaller than the truth, by enumeration; the plug-in is near it."""
    B = 64
    theta, zeta_1, zeta_2 = exact_u_statistic()
    true = (4 * (B - 2) * zeta_1 + 2 * zeta_2) / (B * (B - 1))
    results = u_statistics(B, 8000, np.random.default_rng(2), chunk=100)
    values = np.array([result.value for result in results])
    assert abs(values.var(ddof=1) / true - 1) < 5 * ((np.mean(((values - theta) ** 2 / true) ** 2) - 1) / 8000) ** 0.5
    plug_in = np.array([4 * result.zeta_1 / B for result in results])
    reported = [result.pseudo_values.var(ddof=1) / B for result in results]
    np.testing.assert_allclose(reported, [4 * present(result.zeta_1_jackknife) / B for result in results])
    require_close(plug_in.mean(), true, standard_error(plug_in))
    assert 1 <= np.mean(reported) / true < 1.06


@pytest.mark.slow
def test_conditional_variance() -> None:
    """var(s, ddof = 1) / B_E at a fixed direction. Truth by enumeration."""
    B, along = 8, table().gradients @ table().flat(tiny.direction(enumerable.policy()))
    batch, probability = population()
    every = batch.entropy_parts() @ along
    true = float(probability @ (every - probability @ every) ** 2) / B
    rng = np.random.default_rng(3)
    s = np.concatenate([sample(20_000, 2, rng).entropy_parts() @ along for _ in range(20)]).reshape(-1, B)
    estimates = s.var(axis=1, ddof=1) / B
    require_close(estimates.mean(), true, standard_error(estimates))


@pytest.mark.slow
def test_variance_per_token() -> None:
    """The jackknife's, for the ratio. Truth by replication."""
    B, along = 96, table().gradients @ table().flat(tiny.direction(enumerable.policy()))
    rng, values, estimates = np.random.default_rng(4), [], []
    for _ in range(100):
        batch = sample(500 * B, 2, rng)
        columns = (
            batch.entropy_parts() @ along,
            batch.entropy_parts(LENGTH) @ along,
            batch.entropies.sum(-1).mean(1),
            batch.lengths.mean(1),
        )
        for i in range(0, len(batch.prompts), B):
            jackknife = token_derivative(*(column[i : i + B] for column in columns))
            values.append(jackknife.corrected)
            estimates.append(jackknife.variance)
    require_same_variance(np.array(values), np.array(estimates))


def require_same_variance(values: np.ndarray, estimates: np.ndarray) -> None:
    """The mean of the estimates is the variance of the values, both from the same replications."""
    squares = np.square(values - values.mean())
    error = standard_error(squares - estimates)
    require_close(estimates.mean(), squares.mean(), error)


def exact_total(x_of: np.ndarray, y_of: np.ndarray, offset: np.ndarray | float, B_E: int, B_U: int) -> float:
    """A + B + T of <mean x, offset + mean y>, x and y the images of the coefficient vectors' moments."""
    m = moments()
    mean_x, mean_y = m.mean_x @ x_of, offset + m.mean_g @ y_of
    cov_x, cov_y = x_of.T @ m.cov_x @ x_of, y_of.T @ m.cov_g @ y_of
    a, b = mean_y @ cov_x @ mean_y / B_E, mean_x @ cov_y @ mean_x / B_U
    return float(a + b + (cov_x * cov_y).sum() / (B_E * B_U))


def by_halves(cross: np.ndarray) -> np.ndarray:
    """<x_h, y_p> ``[B_U, 2]`` of both halves h of E from all pairs ``[B_E, B_U]``."""
    return np.stack([cross[::2].mean(0), cross[1::2].mean(0)], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["preconditioned", "sgd"])
def test_total_variance_of_the_linear_rules(rule: str) -> None:
    """V_X + V_Y - T over pairs (E, U). Truth exactly, and by brute force."""
    B_E, B_U, rng = 16, 16, np.random.default_rng(5)
    gradients = table().gradients
    scale = np.random.default_rng(6).uniform(0.2, 5, gradients.shape[1]) if rule == "preconditioned" else 1.0
    gram = -(gradients * scale) @ gradients.T
    true = exact_total(gradients, -gradients * scale, 0.0, B_E, B_U)
    values, estimates, naive = [], [], []
    for _ in range(80):
        R = 500
        x = sample(R * B_E, 2, rng).entropy_parts().reshape(R, B_E, -1)
        y = (sample(R * B_U, 2, rng).update_parts(batches=R)[0] @ gram).reshape(R, B_U, -1)
        for cross in np.einsum("rbi,rui->rbu", x, y):
            parts = combine(cross.mean(1), by_halves(cross), eta=1.0)
            values.append(cross.mean())
            estimates.append(parts.total)
            naive.append(parts.entropy_batch + parts.update_batch)
    require_close(float(np.mean(estimates)), true, standard_error(estimates))
    assert np.mean(naive) / true > 1 + TOLERANCE, "without T the same batches overstate the variance"
    squares = np.square(np.array(values) - np.mean(values))
    assert abs(squares.mean() - true) < ERRORS * standard_error(squares)


@pytest.mark.slow
@pytest.mark.parametrize("clip", [None, 0.3], ids=["no clipping", "clipping"])
def test_total_variance_of_adamw(clip: float | None) -> None:
    """The delta method over pairs (E, U). Truth: the exact variance of the step linearised at the mean gradient,
    plus the difference that the real step makes, by replication."""
    B_E, B_U, R, rng = 8, 32, 250, np.random.default_rng(7)
    gradients, state, parameters = table().gradients, optimizer_state(), parameters_of()
    mean = torch.from_numpy(moments().mean_g @ gradients)

    def step(g: torch.Tensor) -> torch.Tensor:
        named = update_direction("adamw", table().named(g), state, parameters, max_grad_norm=clip)
        return flatten(named)

    def push(at: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        line = Linearisation("adamw", table().named(at), state, parameters, clip)
        pushed: torch.Tensor = torch.func.vmap(lambda v: flatten(line.pushforward(table().named(v))))(vectors)
        return pushed

    jacobian = push(mean, torch.eye(len(mean), dtype=torch.float64)).numpy()
    offset = step(mean).numpy() - mean.numpy() @ jacobian
    values, linear, estimates = [], [], []
    for _ in range(160):
        x = (sample(R * B_E, 2, rng).entropy_parts() @ gradients).reshape(R, B_E, -1)
        g = (sample(R * B_U, 2, rng).update_parts(batches=R)[0] @ gradients).reshape(R, B_U, -1)
        u = torch.func.vmap(step)(torch.from_numpy(g.mean(1))).numpy()
        y = torch.func.vmap(push)(torch.from_numpy(g.mean(1)), torch.from_numpy(g)).numpy()
        s, cross = np.einsum("rbi,ri->rb", x, u), np.einsum("rbi,rui->rbu", x, y)
        values.append(s.mean(1))
        linear.append(np.einsum("ri,ri->r", x.mean(1), offset + g.mean(1) @ jacobian))
        estimates += [combine(own, by_halves(pairs), eta=1.0).total for own, pairs in zip(s, cross, strict=True)]
    real, straight = (np.concatenate(v) for v in (values, linear))
    difference = np.square(real - real.mean()) - np.square(straight - straight.mean())
    true = exact_total(gradients, gradients @ jacobian, offset, B_E, B_U) + difference.mean()
    require_close(float(np.mean(estimates)), true, standard_error(np.array(estimates) - difference))


def flatten(named: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([named[name].reshape(-1) for name in table().shapes])


def parameters_of() -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in enumerable.policy().trainable.items()}


def optimizer_state() -> dict[str, ParameterState]:
    """Moments as after many steps at this policy: the size of a batch's gradient, entry by entry."""
    rng = np.random.default_rng(8)
    g = sample(32 * 200, 2, rng).update_parts(batches=200)[0] @ table().gradients
    size = np.square(g.reshape(200, 32, -1).mean(1)).mean(0)
    first, second = table().named(0.3 * size**0.5 * rng.normal(size=size.shape)), table().named(size + 1e-8)
    return {
        name: ParameterState(
            step=10_000, exp_avg=first[name], exp_avg_sq=second[name], lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
            weight_decay=0.01,
        )
        for name in table().shapes
    }  # fmt: skip
