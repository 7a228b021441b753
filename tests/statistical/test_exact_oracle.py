"""Estimators against a policy small enough to enumerate every response, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pytest_entropy.probe.directional import directional_derivatives
from tests import tiny

VOCABULARY, LIMIT, G = 5, 3, 4
PROMPTS = [[2, 3], [4, 2, 3], [3]]


@pytest.fixture(scope="module")
def policy():
    return tiny.policy(tiny.qwen2(VOCABULARY, hidden=8, layers=1), dtype=torch.float64)


def responses():
    """Every response: sequences that end with the first end token (1) or at LIMIT."""
    for length in range(1, LIMIT + 1):
        for body in itertools.product(range(VOCABULARY), repeat=length):
            if 1 not in body[:-1] and (body[-1] == 1 or length == LIMIT):
                yield list(body)


def exact_entropy(policy, prompt):
    """H(p) = -sum_t pi(t | p) log pi(t | p) over all responses, differentiable."""
    total = torch.zeros((), dtype=torch.float64)
    mass = 0.0
    for response in responses():
        logits = policy.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].double()
        log_p = torch.log_softmax(logits / policy.temperature, -1)
        log_pi = log_p.gather(1, torch.tensor(response).unsqueeze(1)).sum()
        total = total - log_pi.exp() * log_pi
        mass += float(log_pi.exp().detach())
    assert abs(mass - 1) < 1e-9
    return total


@pytest.fixture(scope="module")
def exact(policy):
    """<grad H, u> averaged over the three prompts."""
    u = tiny.direction(policy)
    value = torch.stack([exact_entropy(policy, prompt) for prompt in PROMPTS]).mean()
    grads = torch.autograd.grad(value, list(policy.trainable.values()))
    return sum(float((g * d).sum()) for g, d in zip(grads, u.values(), strict=True)), float(value.detach())


@pytest.fixture(scope="module")
def measured(policy):
    """20 000 independent prompts (drawn with replacement from three), G responses each."""
    rng = np.random.default_rng(1)
    ids = [PROMPTS[i] for i in rng.integers(0, len(PROMPTS), 20_000)]
    parts, nats = [], []
    for start in range(0, len(ids), 2000):
        rollouts = tiny.sample(policy, ids[start : start + 2000], G=G, limit=LIMIT, seed=start)
        names = ["rao_blackwell", "rao_blackwell_no_baseline", "reinforce_loo", "score"]
        parts.append(directional_derivatives(policy, rollouts, tiny.direction(policy), names, chunk_tokens=40_000))
        nats.append(rollouts.entropies.sum(-1).mean(1).numpy())
    scalars = {name: np.concatenate([part.per_prompt[name] for part in parts]) for name in parts[0].per_prompt}
    return scalars, np.concatenate(nats)


@pytest.mark.parametrize("name", ["rao_blackwell", "rao_blackwell_no_baseline", "reinforce_loo"])
def test_estimators_are_unbiased(exact, measured, name):
    s = measured[0][name]
    assert abs(s.mean() - exact[0]) < 4 * s.std(ddof=1) / len(s) ** 0.5


def test_the_mean_score_is_zero(measured):
    s = measured[0]["score"]
    assert abs(s.mean()) < 4 * s.std(ddof=1) / len(s) ** 0.5


def test_entropy_is_the_enumerated_one(exact, measured):
    nats = measured[1]
    assert abs(nats.mean() - exact[1]) < 4 * nats.std(ddof=1) / len(nats) ** 0.5


def test_rao_blackwell_has_less_variance(measured):
    variance = {name: s.var(ddof=1) for name, s in measured[0].items()}
    assert variance["rao_blackwell"] < variance["reinforce_loo"]
