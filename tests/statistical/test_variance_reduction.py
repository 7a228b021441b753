"""Estimators that learn from other prompts: no bias, an honest standard error, and less variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import variance_reduction
from pytest_entropy.probe.action_values import with_action_values
from pytest_entropy.probe.directional import directional_derivatives
from pytest_entropy.rollouts import concatenate
from tests import enumerable, tiny

G = 4
PROMPTS = 100_000


@pytest.fixture(scope="module")
def policy():
    return enumerable.policy()


@pytest.fixture(scope="module")
def exact(policy):
    """<grad H, u> averaged over the three prompts."""
    return enumerable.dot(enumerable.gradient(policy, enumerable.entropy(policy)), tiny.direction(policy))


def rollouts(policy, count, seed):
    ids = enumerable.draw_prompts(count, seed=seed)
    return tiny.sample(policy, ids, G=G, limit=enumerable.LIMIT, seed=seed)


def derivatives(policy, drawn, *names):
    return directional_derivatives(policy, drawn, tiny.direction(policy), names, chunk_tokens=200_000).per_prompt


def in_batches(policy, size, count, seed):
    """Rollouts of ``count`` prompts that learn only from the others of their own batch of ``size``."""
    drawn = rollouts(policy, count, seed)
    batches = [with_action_values(drawn.select(range(i, i + size))) for i in range(0, count, size)]
    longest = drawn.tokens.shape[2]

    def table(name, width):
        rows = [getattr(batch.action_values, name) for batch in batches]
        return torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows])

    folds = batches[0].action_values.position.shape[0]
    first = batches[0].action_values
    learnt = type(first)(
        fold=torch.cat([batch.action_values.fold + folds * i for i, batch in enumerate(batches)]),
        position=table("position", longest),
        token=table("token", enumerable.VOCABULARY),
        share=torch.cat([batch.action_values.share for batch in batches]),
    )
    joined = concatenate([batch for batch in batches])
    return type(joined)(**{**joined.__dict__, "action_values": learnt})


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 1000])
def test_action_value_is_unbiased(policy, exact, size):
    """Mean over 1e5 prompts within 4 SE of the enumerated value; a false alarm in 1 of 16 000 runs."""
    parts = [derivatives(policy, in_batches(policy, size, 10_000, seed), "action_value") for seed in range(10)]
    s = np.concatenate([part["action_value"] for part in parts])
    assert len(s) == PROMPTS
    # Batches are independent of each other, prompts of a batch nearly: the error comes from batch means.
    means = s.reshape(-1, size).mean(1)
    assert abs(means.mean() - exact) < 4 * means.std(ddof=1) / len(means) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 32])
def test_the_standard_error_is_honest_though_prompts_share_tables(policy, exact, size):
    """Spread of the batch means against the reported variance, within 4 SE of their ratio's logarithm."""
    s = derivatives(policy, in_batches(policy, size, 32_000, seed=77), "action_value")["action_value"]
    batches = s.reshape(-1, size)
    errors = (batches.mean(1) - exact) ** 2
    reported = batches.var(axis=1, ddof=1) / size
    ratio = errors / reported.mean()
    assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / len(ratio) ** 0.5 + 1 / size


def test_tables_of_a_prompt_do_not_depend_on_its_own_fold(policy):
    drawn = rollouts(policy, 12, seed=3)
    learnt = with_action_values(drawn, folds=4).action_values
    other = rollouts(policy, 12, seed=4)
    longest = max(drawn.tokens.shape[2], other.tokens.shape[2])
    mixed = concatenate([(other if n % 4 == 2 else drawn).select([n]) for n in range(12)])
    changed = with_action_values(mixed, folds=4).action_values
    for name in ("position", "token", "share"):
        before, after = getattr(learnt, name), getattr(changed, name)
        assert torch.equal(before[2], after[2]), name
    assert mixed.tokens.shape[2] <= longest
    assert not torch.equal(learnt.position[0], changed.position[0])


def test_less_variance_than_rao_blackwell_where_tokens_decide(policy):
    drawn = with_action_values(rollouts(policy, 2000, seed=5))
    s = derivatives(policy, drawn, "action_value", "rao_blackwell")
    assert s["action_value"].var() < s["rao_blackwell"].var()


@pytest.mark.slow
def test_candidates_that_do_not_pay_are_unbiased_all_the_same(policy, exact):
    """The candidates of benchmarks/variance_reduction.py: their comparison would mean nothing otherwise."""
    unbiased = [name for name in variance_reduction.CANDIDATES if "biased" not in name]
    columns = {name: [] for name in unbiased}
    for seed in range(10):
        drawn = rollouts(policy, 10_240, 100 + seed)
        data = variance_reduction.tables(policy, drawn, tiny.direction(policy))
        for name in unbiased:
            columns[name].append(variance_reduction.CANDIDATES[name](data))
    for name, parts in columns.items():
        means = np.concatenate(parts).reshape(-1, variance_reduction.BATCH).mean(1)
        # Four candidates at 4.5 SE: a false alarm in 1 of 30 000 runs.
        assert abs(means.mean() - exact) < 4.5 * means.std(ddof=1) / len(means) ** 0.5, name
