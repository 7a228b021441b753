"""The U-statistic against all pairs of different prompts, vectors formed one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.gradient import entropy_gradient, policy_gradient
from pytest_entropy.probe.measure import u_statistic as module
from pytest_entropy.probe.measure.u_statistic import UStatistic, u_statistic
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.probe.update.linearisation import Linearisation
from tests import tiny
from tests.present import present
from tests.unit.probe.variance.test_total import optimizer_state

B = 6


Setting = tuple[Policy, Rollouts, torch.Tensor, Linearisation, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def setting() -> Setting:
    """(policy, rollouts, token weights, du/dg, direction)."""
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    rollouts = tiny.sample(policy, tiny.prompts(B), G=3, limit=8)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(B, 3)))
    gradient = policy_gradient(policy, rollouts, weights, chunk_tokens=150)
    line = Linearisation("preconditioned", gradient, optimizer_state(policy), dict(policy.trainable))
    return policy, rollouts, weights, line, update_direction("preconditioned", gradient, line.state, line.parameters)


@pytest.fixture(scope="module")
def products(setting: Setting) -> np.ndarray:
    """<x_n, y_m> ``[B, B]``."""
    policy, rollouts, weights, line, _ = setting
    x = [entropy_gradient(policy, rollouts.select([n]), "rao_blackwell", chunk_tokens=150) for n in range(B)]
    y = [
        line.pushforward(policy_gradient(policy, rollouts.select([n]), B * weights[[n]], chunk_tokens=150))
        for n in range(B)
    ]
    return np.array([[inner(x_n, y_m) for y_m in y] for x_n in x])


def run(setting: Setting, blocks: int | None = None) -> UStatistic:
    return u_statistic(*setting, "rao_blackwell", blocks=blocks, chunk_tokens=150)[0]


@pytest.mark.parametrize("blocks", [None, 6, 3, 2])
def test_equals_the_mean_over_different_blocks(
    setting: Setting,
    products: np.ndarray,
    blocks: int | None,
) -> None:
    result = run(setting, blocks)
    M = blocks or B
    block = np.arange(B) // (B // M)
    different = block[:, None] != block[None, :]
    symmetric = (products + products.T) / 2
    scale = np.abs(products).max()
    assert result.value == pytest.approx(products[different].mean(), abs=1e-6 * scale)
    rows = [symmetric[n][different[n]].mean() for n in range(B)]
    np.testing.assert_allclose(result.row_means, rows, atol=1e-6 * scale)
    assert result.plug_in == pytest.approx(products.mean(), abs=1e-6 * scale)
    assert result.diagonal == pytest.approx(products[~different].mean(), abs=1e-6 * scale)
    assert result.pseudo_values.mean() == pytest.approx(result.value, abs=1e-6 * scale)
    assert result.diagonal_gap < 1e-6


def test_the_jackknife_deletes_prompts(setting: Setting, products: np.ndarray) -> None:
    result = run(setting)
    left_out = []
    for n in range(B):
        rest = np.delete(np.delete(products, n, 0), n, 1)
        left_out.append((rest.sum() - np.trace(rest)) / ((B - 1) * (B - 2)))
    variance = (B - 1) / B * np.square(np.array(left_out) - np.mean(left_out)).sum()
    assert 4 * present(result.zeta_1_jackknife) / B == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("blocks", [6, 3, 2])
def test_inflation_is_what_projections_lose(blocks: int) -> None:
    """Row means of independent projections g_n: their variance, F times, is that of g on average."""
    rng = np.random.default_rng(blocks)
    g = rng.normal(size=(20_000, B))
    block = np.arange(B) // (B // blocks)
    others = (block[:, None] != block[None, :]) / (B - B // blocks)
    rows = g + g @ others.T
    variance = rows.var(axis=1, ddof=1)
    inflation = present(UStatistic(blocks, rows[0], 0.0, 0.0, 0.0).inflation)
    error = float(variance.std()) / 20_000**0.5
    assert inflation * float(variance.mean()) == pytest.approx(1.0, abs=6 * inflation * error)


def test_a_diagonal_that_is_left_in_shows(
    setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fault: own products taken as zero, so that nothing is subtracted."""
    monkeypatch.setattr(module, "own_block", lambda policy, part, *more, **options: (np.zeros(len(part)),) * 2)
    assert run(setting).diagonal_gap > 0.01


def test_unequal_blocks_are_refused(
    setting: Setting,
) -> None:
    with pytest.raises(ValueError, match="6 prompts cannot be cut into 4 equal blocks"):
        run(setting, 4)


def test_two_prompts_have_no_jackknife() -> None:
    result = UStatistic(blocks=2, row_means=np.array([1.0, 2.0]), plug_in=1.0, diagonal=0.5, diagonal_gap=0.0)
    assert result.value == 1.5
    assert result.zeta_1_jackknife is None
    assert result.record().zeta_1_jackknife is None
