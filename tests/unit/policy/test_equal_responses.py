"""Equal responses of a group are computed once: the same numbers as one by one, and fewer rows through the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.equal_responses import EqualResponses
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import COLUMNS, Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.diagnostics.importance_sampling import sequence_totals
from tests import tiny

# Which response of the sampled four each of a prompt's four is: all equal, some, none.
COPIES = [[0, 0, 0, 0], [0, 1, 0, 2], [0, 1, 2, 3], [2, 2, 3, 3], [1, 0, 0, 1]]
# Qwen2 computes its norms in float32, whatever the weights.
ROUNDING = 1e-5
NAMES = ["rao_blackwell", "reinforce_loo", "score", "action_value"]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


@pytest.fixture
def rollouts(policy: Policy) -> Rollouts:
    """Responses of which some are equal, with tables of other prompts'."""
    drawn = tiny.sample(policy, tiny.prompts(len(COPIES)), seed=3)
    for name in COLUMNS:
        own = torch.stack([getattr(drawn, name)[n, rows] for n, rows in enumerate(COPIES)])
        drawn = replace(drawn, **{name: own})  # type: ignore[arg-type]
    return replace(drawn, control_variate=learn(tiny.sample(policy, tiny.prompts(12), seed=8), 40))


@contextmanager
def rows_computed(policy: Policy) -> Iterator[list[int]]:
    """Rows of every pass through the model within the block."""
    rows: list[int] = []
    handle = policy.model.get_input_embeddings().register_forward_hook(lambda m, args, out: rows.append(len(args[0])))
    try:
        yield rows
    finally:
        handle.remove()


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    """Let no response be equal to another."""
    patch.setattr(
        EqualResponses,
        "of",
        classmethod(lambda cls, part: cls(np.tile(np.arange(part.group_size), (len(part), 1)))),
    )


def test_equal_ones_are_found(rollouts: Rollouts) -> None:
    found = EqualResponses.of(rollouts)
    texts = [rollouts.responses(n) for n in range(len(rollouts))]
    for n, own in enumerate(found.first.tolist()):
        assert own == [texts[n].index(text) for text in texts[n]]
    assert found.distinct == [1, 3, 4, 2, 2]
    assert found.select([3, 0]).distinct == [2, 1]


def test_tokens_after_the_end_do_not_count(rollouts: Rollouts) -> None:
    other = torch.where(rollouts.mask, rollouts.tokens, torch.randint_like(rollouts.tokens, 9))
    assert np.array_equal(EqualResponses.of(replace(rollouts, tokens=other)).first, EqualResponses.of(rollouts).first)


def test_responses_of_other_contexts_are_not_equal(rollouts: Rollouts) -> None:
    """A recorded probability at the threshold may differ in its last bit, and with it the context."""
    record = rollouts.log_probs.clone()
    assert int(rollouts.lengths[0, 0]) > 1
    record[0, 0, 0], record[0, 1:, 0] = np.log(0.95), np.log(0.5)
    changed = replace(rollouts, log_probs=record)
    assert EqualResponses.of(changed).distinct[0] == 2
    assert EqualResponses.of(replace(changed, control_variate=None)).distinct[0] == 1


def test_scores_and_their_gradients_are_those_of_each_by_itself(policy: Policy, rollouts: Rollouts) -> None:
    parameters = list(policy.trainable.values())
    weights = torch.linspace(-1, 2, rollouts.tokens.numel(), dtype=torch.float64).reshape(rollouts.tokens.shape)
    found = []
    for scored in (policy.teacher_force(rollouts), EqualResponses.of(rollouts).scored(policy, rollouts)):
        assert scored.expected_values is not None
        value = (weights * (scored.log_probs + scored.entropies.square() + scored.expected_values)).sum()
        found.append((scored, torch.autograd.grad(value, parameters)))
    (each, slow), (once, fast) = found
    for field in fields(each):
        one, other = getattr(each, field.name), getattr(once, field.name)
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(other, one, rtol=ROUNDING, atol=ROUNDING)
    for one, other in zip(slow, fast, strict=True):
        torch.testing.assert_close(other, one, rtol=ROUNDING, atol=ROUNDING)


def test_each_has_the_rank_of_its_own_random_number(policy: Policy, rollouts: Rollouts) -> None:
    uniform = torch.rand(rollouts.tokens.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        each = policy.teacher_force(rollouts, uniform)
        once = EqualResponses.of(rollouts).scored(policy, rollouts, uniform)
    assert each.ranks is not None
    assert once.ranks is not None
    torch.testing.assert_close(once.ranks, each.ranks, rtol=ROUNDING, atol=ROUNDING)
    # Nothing else tells two equal responses apart.
    assert bool((once.ranks[0, 0] != once.ranks[0, 1])[rollouts.mask[0, 0]].all())


@pytest.mark.parametrize("budget", [60, 10_000])
def test_scalars_gradients_and_totals_are_those_of_each_by_itself(
    policy: Policy, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    u = tiny.direction(policy)

    def measured() -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor], np.ndarray]:
        found = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=budget, gradient_of="action_value")
        totals = sequence_totals(policy, rollouts, chunk_tokens=budget)
        return found.per_prompt, found.gradients[0], np.stack([found.sequence, totals.sequence, totals.nats])

    once = measured()
    with monkeypatch.context() as patch:
        one_by_one(patch)
        each = measured()
    for name in NAMES:
        scale = np.abs(each[0][name]).max()
        np.testing.assert_allclose(once[0][name], each[0][name], rtol=0, atol=ROUNDING * scale)
    for name, gradient in each[1].items():
        torch.testing.assert_close(once[1][name], gradient, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(once[2], each[2], rtol=ROUNDING)


def test_weights_of_each_response_are_kept_apart(policy: Policy, rollouts: Rollouts) -> None:
    """Of equal responses each has its own weight."""
    u, weights = tiny.direction(policy), torch.linspace(-1, 1, rollouts.lengths.numel(), dtype=torch.float64)
    of_each = weights.reshape(rollouts.lengths.shape)
    found = directional_derivatives(
        policy, rollouts, u, (), chunk_tokens=10_000, sequence_weights={"own": of_each}
    ).per_prompt["own"]
    alone = sum(
        directional_derivatives(
            policy,
            rollouts.responses_between(g, g + 1),
            u,
            (),
            chunk_tokens=10_000,
            sequence_weights={"own": of_each[:, g : g + 1]},
        ).per_prompt["own"]
        for g in range(rollouts.group_size)
    )
    np.testing.assert_allclose(found, alone, rtol=ROUNDING)


def test_each_is_computed_once(policy: Policy, rollouts: Rollouts) -> None:
    u = tiny.direction(policy)
    collapsed = replace(
        rollouts, **{name: getattr(rollouts, name)[:, :1].expand_as(getattr(rollouts, name)) for name in COLUMNS}
    )
    with rows_computed(policy) as rows:
        directional_derivatives(policy, collapsed, u, ["score"], chunk_tokens=10_000)
    # The prompts, and one response to each.
    assert rows == [len(collapsed), len(collapsed)]


def test_pieces_hold_as_many_prompts_as_their_different_responses_allow(policy: Policy, rollouts: Rollouts) -> None:
    longest = rollouts.lengths.amax(1).tolist()
    most = max(
        len(ids) + kinds * own
        for ids, kinds, own in zip(rollouts.prompt_ids, EqualResponses.of(rollouts).distinct, longest, strict=True)
    )
    with rows_computed(policy) as rows:
        sequence_totals(policy, rollouts, chunk_tokens=2 * most)
    assert sum(rows[::2]) == len(rollouts)
    assert sum(rows[1::2]) < rollouts.lengths.numel()
