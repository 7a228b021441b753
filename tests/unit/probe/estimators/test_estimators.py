"""Estimator weights against their formulae in loops, and action values through every path that uses them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.token_statistics import Asked, token_statistics
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.control_variate import FOLDS, LEAST, UNKNOWN, learn
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
    """The batch that is learnt from, too few prompts for cross-validation of the tables' shrinkage."""
    batch = tiny.sample(policy, tiny.prompts(FOLDS - 1), G=G, seed=1, limit=LIMIT)
    assert learn(batch, LIMIT).width > 1
    return batch


@pytest.fixture(scope="module")
def rollouts(policy: Policy, batch: Rollouts) -> Rollouts:
    return replace(tiny.sample(policy, tiny.prompts(9), G=G, limit=LIMIT), control_variate=learn(batch, LIMIT))


def to_go(rollouts: Rollouts, n: int, g: int) -> list[float]:
    row = rollouts.entropies[n, g, : rollouts.lengths[n, g]].tolist()
    return [sum(row[k + 1 :]) for k in range(len(row))]


def in_context(batch: Rollouts, n: int, g: int) -> list[tuple[int, int, float]]:
    """(context, token, weight 1 - pi(t)) of each token of a response."""
    found, context = [], -1
    ids = batch.responses(n)[g]
    for token, log_prob in zip(ids, batch.log_probs[n, g].tolist(), strict=False):
        found.append((context, token, 1 - math.exp(log_prob)))
        context = token if math.exp(log_prob) < 0.9 else context
    return found


def test_tables_are_the_means_they_say(batch: Rollouts) -> None:
    """Tables by position, token and pair by loops over all responses of the batch."""
    seen = [
        (k, *row, gamma)
        for n in range(len(batch))
        for g in range(G)
        for k, (row, gamma) in enumerate(zip(in_context(batch, n, g), to_go(batch, n, g), strict=True))
    ]
    values, prior = learn(batch, LIMIT + 5), UNKNOWN
    assert len(values.position) == LIMIT + 5
    position = {}
    for k in range(LIMIT + 5):
        here = [(weight + LEAST, gamma) for j, _, _, weight, gamma in seen if j == k]
        position[k] = sum(w * x for w, x in here) / sum(w for w, _ in here) if here else 0.0
        assert float(values.position[k]) == pytest.approx(position[k], rel=1e-12)
    means = {}
    for token in {token for _, _, token, _, _ in seen}:
        rest = [(w, gamma - position[k]) for k, _, t, w, gamma in seen if t == token]
        means[token] = sum(w * x for w, x in rest) / (sum(w for w, _ in rest) + prior)
        assert float(values.token[token]) == pytest.approx(means[token], rel=1e-9, abs=1e-15)
    pairs = list(zip(values.pair_context.tolist(), values.pair_token.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    found = dict(zip(pairs, values.pair_value.tolist(), strict=True))
    for context, token in {(context, token) for _, context, token, _, _ in seen}:
        rest = [(w, x - position[k] - means[token]) for k, c, t, w, x in seen if (c, t) == (context, token)]
        expected = sum(w * x for w, x in rest) / (sum(w for w, _ in rest) + prior)
        assert found.pop((context, token), 0.0) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert not found


def made_up(effect: float, noise: float) -> Rollouts:
    """48 prompts whose second token, if 14, adds ``effect`` nats after token 3, none after 4; the rest is noise."""
    rng = np.random.default_rng(0)
    shape = (48, 4, 3)
    tokens = torch.from_numpy(rng.integers(3, 5, shape)) + 10 * torch.arange(3)
    nats = torch.from_numpy(noise * rng.random(shape))
    nats[..., 2] += effect * ((tokens[..., 0] == 3) & (tokens[..., 1] == 14))
    everywhere = torch.ones(shape[:2], dtype=torch.int64)
    half = torch.full(shape, math.log(0.5), dtype=torch.float64)
    return Rollouts(((1,),) * shape[0], tokens, 3 * everywhere, everywhere.bool(), half, nats)


def test_what_contexts_teach_is_shrunk_by_how_well_it_predicts_other_prompts() -> None:
    taught, nothing = learn(made_up(2.0, 0.1), 3), learn(made_up(0.0, 1.0), 3)

    def effect(tables: ControlVariateTables, context: int) -> float:
        both = tables.own(torch.tensor([context, context]), torch.tensor([14, 13]))
        return float(both[0] - both[1])

    assert effect(taught, 3) == pytest.approx(2.0, abs=0.1)
    assert effect(taught, 4) == pytest.approx(0.0, abs=0.1)
    for context in (-1, 3, 4):
        assert effect(nothing, context) == pytest.approx(0.0, abs=0.1)


def test_a_context_keeps_its_largest_pairs(batch: Rollouts, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn(batch, LIMIT)
    monkeypatch.setattr("pytest_entropy.probe.control_variate.WIDEST", 2)
    few = learn(batch, LIMIT)
    assert whole.width > few.width == 2
    kept = set(zip(few.pair_context.tolist(), few.pair_token.tolist(), few.pair_value.tolist(), strict=True))
    assert kept < set(
        zip(whole.pair_context.tolist(), whole.pair_token.tolist(), whole.pair_value.tolist(), strict=True)
    )


def test_action_value_weights_by_loops(policy: Policy, rollouts: Rollouts) -> None:
    n, values = 2, present(rollouts.control_variate)
    one = rollouts.select([n])
    forced = policy.teacher_force(one)
    weights, expected = weights_for("action_value", forced, one), present(forced.expected_values).detach()
    token = dict(enumerate(values.token.tolist()))
    pairs = dict(
        zip(
            zip(values.pair_context.tolist(), values.pair_token.tolist(), strict=True),
            values.pair_value.tolist(),
            strict=True,
        )
    )
    for g in range(G):
        rows = in_context(rollouts, n, g)
        q = [token.get(t, 0.0) + pairs.get((c, t), 0.0) for c, t, _ in rows]
        nats = rollouts.entropies[n, g, : len(rows)].tolist()
        for k in range(len(rows)):
            cleaned = sum(nats[j] - (q[j] - float(expected[0, g, j])) for j in range(k + 1, len(rows)))
            wanted = (cleaned - float(values.position[k]) - q[k]) / G
            assert float(weights.log_prob[0, g, k]) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        assert not weights.log_prob[0, g, len(rows) :].any()


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
    assert s.mean() == pytest.approx(inner, abs=1e-6 * np.abs(s).mean())
    assert verify_tangent(policy, rollouts, u, "action_value") < 1e-6


def test_with_nothing_learnt_it_is_rao_blackwell(policy: Policy) -> None:
    one = tiny.sample(policy, tiny.prompts(1), G=G)
    scores = policy.teacher_force(one)
    learning, plain = weights_for("action_value", scores, one), weights_for("rao_blackwell", scores, one)
    assert torch.equal(learning.log_prob, plain.log_prob)
    assert learning.expected_value is None


def test_tokens_and_contexts_that_were_never_seen_add_nothing(batch: Rollouts) -> None:
    few = learn(batch, LIMIT)
    few = replace(few, token=few.token[:2])
    known = list(zip(few.pair_context.tolist(), few.pair_token.tolist(), strict=True))
    contexts, tokens = (torch.tensor(column) for column in zip(*known, (7**9, 1), (7**9, 50), (-1, 7**9), strict=True))
    own = few.own(contexts, tokens)
    by_token = torch.tensor([float(few.token[t]) if t < 2 else 0.0 for t in tokens.tolist()], dtype=torch.float64)
    assert torch.equal(own[: len(known)], by_token[: len(known)] + few.pair_value)
    assert torch.equal(own[len(known) :], by_token[len(known) :])


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
