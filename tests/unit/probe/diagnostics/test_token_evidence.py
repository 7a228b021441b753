"""The tokens whose likelihood ratios a run computes: which they are, and that each may be taken without bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics import token_evidence
from pytest_entropy.probe.diagnostics.token_evidence import subsample, total_sampler_log_ratios
from tests import tiny


@pytest.fixture(scope="module")
def rollouts() -> Rollouts:
    return tiny.sample(tiny.policy(tiny.qwen2(), dtype=torch.float64), tiny.prompts(5), G=3)


def taken(some: Rollouts) -> list[tuple[tuple[int, ...], list[int]]]:
    return [(ids, row) for n, ids in enumerate(some.prompt_ids) for row in some.responses(n) if row]


def test_all_tokens_decide_where_they_are_few(rollouts: Rollouts) -> None:
    assert subsample(rollouts, 0, int(rollouts.lengths.sum())) is rollouts


@pytest.mark.parametrize("tokens", [1, 9, 25, 60])
def test_the_tokens_taken_are_prefixes_of_responses_one_to_each_prompt_first(rollouts: Rollouts, tokens: int) -> None:
    some = subsample(rollouts, 3, tokens)
    assert int(some.lengths.sum()) == tokens < int(rollouts.lengths.sum())
    whole = taken(rollouts)
    cut = [row for ids, row in taken(some) if (ids, row) not in whole]
    assert len(cut) <= 1
    for ids, row in taken(some):
        assert any(ids == other and row == full[: len(row)] for other, full in whole)
    used = (some.lengths > 0).sum(1)
    assert int(used.max() - used.min()) <= 1


def test_the_order_depends_on_the_seed_and_not_on_the_tokens(rollouts: Rollouts) -> None:
    one, other = subsample(rollouts, 3, 20), subsample(replace(rollouts, tokens=rollouts.tokens % 7), 3, 20)
    assert one.prompt_ids == other.prompt_ids
    assert torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.tokens % 7, other.tokens)
    assert any(subsample(rollouts, seed, 20).prompt_ids != one.prompt_ids for seed in range(5))


def test_what_is_taken_does_not_depend_on_what_comes_after(rollouts: Rollouts) -> None:
    """Responses that come later in the order, made longer, change nothing of the tokens taken before them."""
    few = subsample(rollouts, 3, 12)
    known = {ids for ids, n in zip(few.prompt_ids, few.lengths.sum(1).tolist(), strict=True) if n}
    later = [n for n, ids in enumerate(rollouts.prompt_ids) if ids not in known]
    assert later
    lengths = rollouts.lengths.clone()
    lengths[later] = rollouts.tokens.shape[2]
    assert taken(subsample(replace(rollouts, lengths=lengths), 3, 12)) == taken(few)


def test_the_evidence_is_that_of_the_tokens_taken(rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(tiny.qwen2(), dtype=torch.float64)
    full = total_sampler_log_ratios(policy, rollouts, seed=3, chunk_tokens=40)
    assert int(full["evidence_tokens"]) == int(rollouts.lengths.sum())
    monkeypatch.setattr(token_evidence, "MOST_TOKENS", 25)
    found = total_sampler_log_ratios(policy, rollouts, seed=3, chunk_tokens=40)
    assert int(found["evidence_tokens"]) == 25
    some = subsample(rollouts, 3, 25)
    expected = np.zeros_like(found["sampler_evidence"])
    for n, ids in enumerate(some.prompt_ids):
        for g, row in enumerate(some.responses(n)):
            if row:
                alone = Rollouts(
                    (ids,), some.tokens[n : n + 1, g : g + 1, : len(row)], torch.tensor([[len(row)]]),
                    some.ended[n : n + 1, g : g + 1], some.log_probs[n : n + 1, g : g + 1, : len(row)],
                    some.entropies[n : n + 1, g : g + 1, : len(row)],
                )  # fmt: skip
                expected += policy.sampler_log_ratios(alone).numpy()
    np.testing.assert_allclose(found["sampler_evidence"], expected, rtol=1e-6, atol=1e-6)
