"""Sampling and scoring: one distribution, whatever the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import concatenate
from pytest_entropy.records.seeds import uniforms
from tests import tiny
from tests.present import present


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()))


def test_a_response_does_not_depend_on_its_batch(policy: Policy) -> None:
    ids = tiny.prompts(12)
    together = tiny.sample(policy, ids)
    table = torch.stack([torch.from_numpy(tiny.uniforms(0, n, 4, 10)) for n in (7, 3)])
    alone = policy.sample([ids[7], ids[3]], table)
    assert alone.responses(0) == together.responses(7)
    assert alone.responses(1) == together.responses(3)


def test_more_responses_or_positions_leave_the_first_ones_alone(policy: Policy) -> None:
    ids = tiny.prompts(3)
    short = tiny.sample(policy, ids, G=2, limit=4)
    long = tiny.sample(policy, ids, G=5, limit=9)
    for n in range(3):
        for g in range(2):
            assert long.responses(n)[g][:4] == short.responses(n)[g]


def test_the_first_end_token_counts_and_nothing_after_it(policy: Policy) -> None:
    rollouts = tiny.sample(policy, tiny.prompts(40), limit=30)
    assert 0.05 < rollouts.ended.double().mean() < 1
    for n in range(len(rollouts)):
        for g, response in enumerate(rollouts.responses(n)):
            assert 1 not in response[:-1]
            assert (response[-1] == 1) == bool(rollouts.ended[n, g])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scorer_agrees_with_sampler_token_by_token(temperature: float) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), temperature=temperature, dtype=torch.float64)
    rollouts = tiny.sample(policy, tiny.prompts(10))
    scores = policy.teacher_force(rollouts)
    torch.testing.assert_close(scores.log_probs.detach(), rollouts.log_probs, atol=1e-6, rtol=0)
    torch.testing.assert_close(scores.entropies.detach(), rollouts.entropies, atol=1e-6, rtol=0)


def test_shared_prompt_equals_one_plain_forward_without_padding(policy: Policy) -> None:
    """The oracle is the model itself on each unpadded sequence, as a user would call it."""
    rollouts = tiny.sample(policy, tiny.prompts(6))
    scores = policy.teacher_force(rollouts)
    for n in range(6):
        for g, response in enumerate(rollouts.responses(n)):
            prompt = list(rollouts.prompt_ids[n])
            logits = policy.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            log_p = torch.log_softmax(logits, -1)
            own = log_p.gather(1, torch.tensor(response).unsqueeze(1)).squeeze(1)
            entropy = -(log_p.exp() * log_p).sum(-1)
            k = len(response)
            torch.testing.assert_close(scores.log_probs[n, g, :k], own, atol=2e-5, rtol=0)
            torch.testing.assert_close(scores.entropies[n, g, :k], entropy, atol=2e-5, rtol=0)
            assert not scores.log_probs[n, g, k:].any()


def test_gradients_of_the_fused_statistics_are_autograds(policy: Policy) -> None:
    from pytest_entropy.policy.token_statistics import Asked, token_statistics

    logits = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(0, 7, (3, 5))
    assert torch.autograd.gradcheck(lambda x: token_statistics(x, tokens, Asked(0.8))[:3], logits)


def test_sampled_frequencies_are_the_distribution() -> None:
    """Chi-square of 20 000 first tokens against softmax(logits / T)."""
    from scipy.stats import chisquare

    policy = tiny.policy(tiny.qwen2(12), temperature=1.3, eos=(1,))
    prompt = [3, 4, 5]
    rollouts = tiny.sample(policy, [prompt], G=20_000, limit=1)
    counts = torch.bincount(rollouts.tokens.flatten(), minlength=12).numpy()
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt])).logits[0, -1].double()
    expected = torch.softmax(logits / 1.3, -1).numpy() * 20_000
    # One test, fixed seed: the level only bounds how unlucky the seed may be.
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4


def test_dropout_cannot_be_live(policy: Policy) -> None:
    rollouts = tiny.sample(policy, tiny.prompts(2))
    policy.model.train()
    try:
        with pytest.raises(RunError, match=r"training mode.*dropout"):
            policy.teacher_force(rollouts)
        with pytest.raises(RunError, match=r"training mode"):
            tiny.sample(policy, tiny.prompts(2))
    finally:
        policy.model.eval()


def test_a_response_must_fit_the_model(policy: Policy) -> None:
    with pytest.raises(RunError, match=r"need 130 tokens, the model has 128 positions"):
        tiny.sample(policy, [[5] * 120], limit=10)


def test_concatenation_and_selection_are_inverse(policy: Policy) -> None:
    rollouts = tiny.sample(policy, tiny.prompts(8), limit=20)
    parts = [rollouts.select([4, 5, 6, 7]), rollouts.select([0, 1, 2, 3])]
    again = concatenate(parts).select([4, 5, 6, 7, 0, 1, 2, 3])
    assert [again.responses(n) for n in range(8)] == [rollouts.responses(n) for n in range(8)]


def test_surprisal_ranks_are_uniform_under_the_scored_policy(policy: Policy) -> None:
    from scipy.stats import kstest

    rollouts = tiny.sample(policy, tiny.prompts(100), G=8)
    uniform = torch.rand(rollouts.tokens.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = policy.teacher_force(rollouts, uniform)
    assert kstest(present(scores.ranks)[rollouts.mask].numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_every_token_is_the_one_its_random_number_picks(temperature: float) -> None:
    """And no other is: the gap is 0 for the sampler's own tokens, positive for another token and another number."""
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64, temperature=temperature)
    prompts = tiny.prompts(5)
    table = torch.from_numpy(np.stack([uniforms(3, n, 4, 10) for n in range(5)]))
    rollouts = policy.sample(prompts, table)
    assert float(policy.draw_discrepancies(rollouts, table).max()) < 1e-12
    other = rollouts.tokens.clone()
    other[2, 1, 0] = (other[2, 1, 0] + 1) % policy.model.config.vocab_size
    gaps = policy.draw_discrepancies(replace(rollouts, tokens=other), table)
    assert gaps[2, 1, 0] > 0
    assert float(policy.draw_discrepancies(rollouts, 1 - table).max()) > 0.1
