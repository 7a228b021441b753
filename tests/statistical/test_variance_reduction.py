"""Estimators that learn from other prompts: no bias, an honest standard error, and less variance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import bias, variance_reduction
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from tests import enumerable, tiny

G = bias.G
PROMPTS = 100_000


@pytest.fixture(scope="module")
def policy() -> Policy:
    return enumerable.policy()


@pytest.fixture(scope="module")
def exact(policy: Policy) -> float:
    """<grad H, u> averaged over the three prompts."""
    return enumerable.dot(enumerable.gradient(policy, enumerable.entropy(policy)), tiny.direction(policy))


def derivatives(policy: Policy, drawn: Rollouts, *names: str) -> dict[str, np.ndarray]:
    return directional_derivatives(policy, drawn, tiny.direction(policy), names, chunk_tokens=200_000).per_prompt


def taught(policy: Policy, count: int, seed: int, *, by: int = 32, group: int = G) -> Rollouts:
    """Rollouts of ``count`` prompts x ``group`` responses that have learnt from one batch of ``by`` others x G."""
    control_variate = bias.taught(policy, bias.rollouts(policy, by, seed + 50_000))
    return replace(bias.rollouts(policy, count, seed, group), control_variate=control_variate)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "group"), [(1, G), (32, G), (32, 2)])
def test_action_value_is_unbiased(policy: Policy, exact: tuple[float, float], by: int, group: int) -> None:
    """Mean over 1e5 prompts within 4 SE of the enumerated value, whatever few prompts were learnt from; a false alarm
    in 1 of 16 000 runs."""
    parts = [
        derivatives(policy, taught(policy, 10_000, seed, by=by, group=group), "action_value") for seed in range(10)
    ]
    s = np.concatenate([part["action_value"] for part in parts])
    assert len(s) == PROMPTS
    assert abs(s.mean() - exact) < 4 * s.std(ddof=1) / len(s) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("group", [G, 2])
def test_every_part_on_is_unbiased(policy: Policy, exact: float, group: int) -> None:
    """As above with cleaning, a share of the group's others and an arbitrary value of prefixes."""
    parts = []
    for seed in range(10):
        tables = bias.all_on(policy, bias.rollouts(policy, 32, seed + 50_000))
        drawn = replace(bias.rollouts(policy, 10_000, seed, group), control_variate=tables)
        parts.append(derivatives(policy, drawn, "action_value")["action_value"])
    s = np.concatenate(parts)
    assert abs(s.mean() - exact) < 4 * s.std(ddof=1) / len(s) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 32])
def test_the_standard_error_is_honest_though_prompts_share_tables(
    policy: Policy, exact: tuple[float, float], size: int
) -> None:
    """Squared errors of batch means against the reported variance: their ratio is 1 within 4 SE."""
    s = derivatives(policy, taught(policy, 32_000, seed=77), "action_value")["action_value"]
    batches = s.reshape(-1, size)
    ratio = (batches.mean(1) - exact) ** 2 / (batches.var(axis=1, ddof=1) / size).mean()
    assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / len(ratio) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("by", "group"), [(1, G), (32, 2)])
def test_companion_reads_are_unbiased_and_their_error_is_honest(policy: Policy, by: int, group: int) -> None:
    """As :func:`test_action_value_is_unbiased`; and squared errors of batches of eight are what they report."""
    parts = [bias.scalars(policy, 10_000, seed, by=by, group=group)[bias.WITH_READS] for seed in range(10)]
    s = np.concatenate(parts)
    along = enumerable.dot(enumerable.gradient(policy, enumerable.entropy(policy)), tiny.direction(policy))
    assert len(s) == PROMPTS
    assert abs(s.mean() - along) < 4 * s.std(ddof=1) / len(s) ** 0.5
    batches = s.reshape(-1, 8)
    ratio = (batches.mean(1) - along) ** 2 / (batches.var(axis=1, ddof=1) / 8).mean()
    assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / len(ratio) ** 0.5


def test_less_variance_than_rao_blackwell_where_tokens_decide(policy: Policy) -> None:
    drawn = taught(policy, 2000, seed=5)
    s = derivatives(policy, drawn, "action_value", "rao_blackwell")
    assert s["action_value"].var() < s["rao_blackwell"].var()


@pytest.mark.slow
def test_candidates_that_do_not_pay_are_unbiased_all_the_same(policy: Policy, exact: tuple[float, float]) -> None:
    """The candidates of benchmarks/variance_reduction.py: their comparison would mean nothing otherwise."""
    unbiased = [name for name in variance_reduction.CANDIDATES if "biased" not in name]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in unbiased}
    for seed in range(10):
        drawn = bias.rollouts(policy, 10_240, 100 + seed)
        data = variance_reduction.tables(policy, drawn, tiny.direction(policy))
        for name in unbiased:
            columns[name].append(variance_reduction.CANDIDATES[name](data))
    for name, parts in columns.items():
        means = np.concatenate(parts).reshape(-1, variance_reduction.BATCH).mean(1)
        # Four candidates at 4.5 SE: a false alarm in 1 of 30 000 runs.
        assert abs(means.mean() - exact) < 4.5 * means.std(ddof=1) / len(means) ** 0.5, name
