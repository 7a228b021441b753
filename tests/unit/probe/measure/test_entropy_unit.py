"""The token unit against recomputation without each prompt, and as a gradient vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import combined_gradient
from pytest_entropy.probe.measure.entropy_unit import LENGTH, token_derivative, token_entropy, unit_coefficients
from pytest_entropy.probe.parameter_vectors import inner
from tests import tiny


def columns(count: int = 11) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=count), rng.normal(size=count), rng.exponential(size=count), rng.uniform(1, 9, size=count)


def by_hand(a: np.ndarray, score: np.ndarray, nats: np.ndarray, lengths: np.ndarray) -> float:
    h_tok = nats.sum() / lengths.sum()
    total = sum(a_n - h_tok * l_n for a_n, l_n in zip(a, score, strict=True))
    return float(total / len(a) / lengths.mean())


def test_the_derivative_is_recomputed_without_each_prompt() -> None:
    data = columns()
    jackknife = token_derivative(*data)
    assert jackknife.full == pytest.approx(by_hand(*data))
    without = [by_hand(*(np.delete(column, i) for column in data)) for i in range(11)]
    np.testing.assert_allclose(jackknife.left_out, without)


def test_the_coefficients_give_the_corrected_derivative() -> None:
    a, score, nats, lengths = columns()
    alpha, beta = unit_coefficients(nats, lengths)
    assert alpha @ a + beta @ score == pytest.approx(token_derivative(a, score, nats, lengths).corrected)


def test_entropy_per_token_is_a_ratio_of_means() -> None:
    _, _, nats, lengths = columns()
    jackknife = token_entropy(nats, lengths)
    assert jackknife.full == pytest.approx(nats.sum() / lengths.sum())
    np.testing.assert_allclose(
        jackknife.left_out, [np.delete(nats, i).sum() / np.delete(lengths, i).sum() for i in range(11)]
    )


def test_equal_lengths_leave_entropy_per_response_over_length() -> None:
    a, _, nats, _ = columns()
    jackknife = token_derivative(a, np.zeros(11), nats, np.full(11, 4.0))
    np.testing.assert_allclose(jackknife.pseudo_values, a / 4)


def test_the_gradient_vector_dotted_with_a_direction_is_the_scalar() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    rollouts = tiny.sample(policy, tiny.prompts(6))
    u = tiny.direction(policy)
    nats = rollouts.entropies.double().sum(-1).mean(1).numpy()
    lengths = rollouts.lengths.double().mean(1).numpy()
    s = directional_derivatives(policy, rollouts, u, ["rao_blackwell", LENGTH], chunk_tokens=200).per_prompt
    alpha, beta = unit_coefficients(nats, lengths)
    gradient = combined_gradient(
        policy,
        rollouts,
        {"rao_blackwell": torch.from_numpy(alpha), LENGTH: torch.from_numpy(beta)},
        chunk_tokens=150,
    )
    expected = token_derivative(s["rao_blackwell"], s[LENGTH], nats, lengths).corrected
    assert inner(gradient, u) == pytest.approx(expected, rel=1e-6)
