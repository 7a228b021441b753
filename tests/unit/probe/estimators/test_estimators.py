"""Estimator weights against their formulae in loops, and action values through every path that uses them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.token_statistics import Asked, token_statistics
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.control_variate import PRIOR, ControlVariate, learn, share_of_others
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import entropy_gradient
from pytest_entropy.probe.estimators import get_estimator, weights_for
from pytest_entropy.probe.oracles.hooks import verify_tangent
from tests import tiny
from tests.present import present

G, LIMIT = 3, 10


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


@pytest.fixture(scope="module")
def batch(policy: Policy) -> Rollouts:
    """The batch that is learnt from."""
    return tiny.sample(policy, tiny.prompts(7), G=G, seed=1, limit=LIMIT)


@pytest.fixture(scope="module")
def rollouts(policy: Policy, batch: Rollouts) -> Rollouts:
    return replace(tiny.sample(policy, tiny.prompts(9), G=G, limit=LIMIT), control_variate=learn(batch, LIMIT))


def to_go(rollouts: Rollouts, n: int, g: int) -> list[float]:
    row = rollouts.entropies[n, g, : rollouts.lengths[n, g]].tolist()
    return [sum(row[k + 1 :]) for k in range(len(row))]


def test_tables_are_the_means_they_say(batch: Rollouts) -> None:
    """Position and token tables by loops over all responses of the batch."""
    seen = [
        (k, token, gamma)
        for n in range(len(batch))
        for g in range(G)
        for k, (token, gamma) in enumerate(zip(batch.responses(n)[g], to_go(batch, n, g), strict=True))
    ]
    values = learn(batch, LIMIT + 5)
    position = {k: np.mean([gamma for j, _, gamma in seen if j == k]) for k, _, _ in seen}
    assert len(values.position) == LIMIT + 5
    for k in range(LIMIT + 5):
        assert float(values.position[k]) == pytest.approx(position.get(k, 0.0), rel=1e-12)
    for token in range(len(values.token)):
        rest = [gamma - position[k] for k, t, gamma in seen if t == token]
        assert float(values.token[token]) == pytest.approx(sum(rest) / (len(rest) + PRIOR), rel=1e-9, abs=1e-15)


def test_action_value_weights_by_loops(policy: Policy, rollouts: Rollouts) -> None:
    n, values = 2, present(rollouts.control_variate)
    one = rollouts.select([n])
    weights = weights_for("action_value", policy.teacher_force(one), one)
    unseen = [t for g in range(G) for t in rollouts.responses(n)[g] if t >= len(values.token)]
    q = [*values.token.tolist(), *[0.0] * (max(unseen, default=0) + 1)]
    rests = [
        [
            gamma - float(values.position[k]) - q[token]
            for k, (token, gamma) in enumerate(zip(rollouts.responses(n)[g], to_go(rollouts, n, g), strict=True))
        ]
        for g in range(G)
    ]
    for g, row in enumerate(rests):
        for k, rest in enumerate(row):
            others = [rests[h][k] for h in range(G) if h != g and len(rests[h]) > k]
            shared = float(values.share) * (sum(others) / len(others) if others else 0.0)
            assert float(weights.log_prob[0, g, k]) == pytest.approx((rest - shared) / G, rel=1e-9, abs=1e-12)


def test_expected_values_are_sums_over_the_vocabulary() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 7, dtype=torch.float64, requires_grad=True)
    tokens, values = torch.randint(7, (2, 3, 4)), torch.randn(5, dtype=torch.float64)
    asked = Asked(0.7, values)
    expected = token_statistics(logits, tokens, asked).expected
    p = torch.softmax(logits / 0.7, -1)
    assert torch.allclose(expected, (p[..., :5] * values).sum(-1), rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda x: token_statistics(x, tokens, asked)[:3], logits)


def test_hooks_equal_a_plain_backward_and_the_vector(policy: Policy, rollouts: Rollouts) -> None:
    u = tiny.direction(policy)
    s = directional_derivatives(policy, rollouts, u, ["action_value"], chunk_tokens=100).per_prompt["action_value"]
    vector = entropy_gradient(policy, rollouts, "action_value", chunk_tokens=70)
    inner = sum(float((vector[name] * u[name]).sum()) for name in u)
    # The norms of this architecture compute in float32 whatever the weights are in.
    assert s.mean() == pytest.approx(inner, rel=1e-6)
    assert verify_tangent(policy, rollouts, u, "action_value") < 1e-6


@pytest.mark.parametrize("r", [0.01, 0.2, 0.9])
def test_the_share_of_fewer_others_is_the_regression_on_fewer_others(policy: Policy, batch: Rollouts, r: float) -> None:
    """From the covariances of eight responses with correlation r: the slope on the mean of m of the others."""
    covariance = (1 - r) * np.eye(8) + r

    def slope(m: int) -> float:
        return float(covariance[0, 1 : m + 1].mean() / covariance[1 : m + 1, 1 : m + 1].mean())

    for known in range(1, 8):
        for asked in range(1, 8):
            assert share_of_others(slope(known), known, asked) == pytest.approx(slope(asked), rel=1e-12)
    assert share_of_others(0.4, 7, 7) == 0.4
    assert share_of_others(0.0, 0, 3) == 0.0
    assert share_of_others(1.0, 7, 1) == 1.0
    fewer = learn(batch, LIMIT, group=2)
    assert 0 <= fewer.share <= learn(batch, LIMIT).share


def test_with_nothing_learnt_it_is_rao_blackwell(policy: Policy) -> None:
    one = tiny.sample(policy, tiny.prompts(1), G=G)
    scores = policy.teacher_force(one)
    learning, plain = weights_for("action_value", scores, one), weights_for("rao_blackwell", scores, one)
    assert torch.equal(learning.log_prob, plain.log_prob)
    assert learning.expected_value is None


def test_tokens_that_were_never_seen_add_nothing(policy: Policy, batch: Rollouts) -> None:
    few = learn(batch, LIMIT)
    few = replace(few, token=few.token[:2])
    others = replace(tiny.sample(policy, tiny.prompts(4), G=G, limit=LIMIT), control_variate=few)
    control_variate = ControlVariate.of(others, torch.device("cpu"))
    assert not control_variate.own[others.tokens >= 2].any()
    assert torch.equal(control_variate.own[others.tokens == 1], few.token[1].expand(int((others.tokens == 1).sum())))


def test_a_scalar_does_not_depend_on_the_prompts_beside_it(policy: Policy, rollouts: Rollouts) -> None:
    """What a run's scalars owe to others is U's alone, so that they are independent whatever B_E."""
    u = tiny.direction(policy)
    whole = directional_derivatives(policy, rollouts, u, ["action_value"], chunk_tokens=100).per_prompt["action_value"]
    part = rollouts.select([5, 2])
    alone = directional_derivatives(policy, part, u, ["action_value"], chunk_tokens=100).per_prompt["action_value"]
    assert alone == pytest.approx(whole[[5, 2]], rel=1e-6)


def test_an_estimator_that_does_not_learn_ignores_the_tables(policy: Policy, rollouts: Rollouts) -> None:
    scores = policy.teacher_force(rollouts)
    by_name = weights_for("rao_blackwell", scores, rollouts)
    direct = get_estimator("rao_blackwell").weights(scores.log_probs, scores.entropies, rollouts.mask, None)
    assert torch.equal(by_name.log_prob, direct.log_prob)


def test_one_response_has_no_leave_one_out_mean(policy: Policy) -> None:
    single = tiny.sample(policy, tiny.prompts(2), G=1)
    with pytest.raises(ValueError, match="reinforce_loo needs G >= 2"):
        weights_for("reinforce_loo", policy.teacher_force(single), single)


def test_the_u_statistic_refuses_an_estimator_that_learns() -> None:
    with pytest.raises(ValueError, match="action_value's use other prompts"):
        ProbeConfig(mode="u_statistic", estimator="action_value")
