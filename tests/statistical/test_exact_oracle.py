"""Estimators against a policy small enough to enumerate every response, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from tests import enumerable, tiny

G = 4


@pytest.fixture(scope="module")
def policy() -> Policy:
    return enumerable.policy()


@pytest.fixture(scope="module")
def exact(policy: Policy) -> tuple[float, float]:
    """(<grad H, u>, H) averaged over the three prompts."""
    value = enumerable.entropy(policy)
    gradient = enumerable.gradient(policy, value)
    return enumerable.dot(gradient, tiny.direction(policy)), float(value.detach())


@pytest.fixture(scope="module")
def measured(policy: Policy) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """20 000 independent prompts (drawn with replacement from three), G responses each."""
    ids = enumerable.random_prompts(20_000, seed=1)
    parts, nats = [], []
    for start in range(0, len(ids), 2000):
        rollouts = tiny.sample(policy, ids[start : start + 2000], G=G, limit=enumerable.LIMIT, seed=start)
        names = ["rao_blackwell", "rao_blackwell_no_baseline", "reinforce_loo", "score"]
        parts.append(directional_derivatives(policy, rollouts, tiny.direction(policy), names, chunk_tokens=40_000))
        nats.append(rollouts.entropies.sum(-1).mean(1).numpy())
    scalars = {name: np.concatenate([part.per_prompt[name] for part in parts]) for name in parts[0].per_prompt}
    return scalars, np.concatenate(nats)


@pytest.mark.parametrize("name", ["rao_blackwell", "rao_blackwell_no_baseline", "reinforce_loo"])
def test_estimators_are_unbiased(
    exact: tuple[float, float], measured: tuple[dict[str, np.ndarray], np.ndarray], name: str
) -> None:
    s = measured[0][name]
    assert abs(s.mean() - exact[0]) < 4 * s.std(ddof=1) / len(s) ** 0.5


def test_the_mean_score_is_zero(measured: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    s = measured[0]["score"]
    assert abs(s.mean()) < 4 * s.std(ddof=1) / len(s) ** 0.5


def test_entropy_is_the_enumerated_one(
    exact: tuple[float, float], measured: tuple[dict[str, np.ndarray], np.ndarray]
) -> None:
    nats = measured[1]
    assert abs(nats.mean() - exact[1]) < 4 * nats.std(ddof=1) / len(nats) ** 0.5


def test_rao_blackwell_has_less_variance(measured: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    variance = {name: s.var(ddof=1) for name, s in measured[0].items()}
    assert variance["rao_blackwell"] < variance["reinforce_loo"]
