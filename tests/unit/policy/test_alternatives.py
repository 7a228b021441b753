"""Evidence against named wrong samplers, recomputed by hand, and its guaranteed error rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from pytest_entropy.policy import alternatives, token_statistics
from pytest_entropy.policy.nucleus import nucleus_threshold
from tests import tiny

WARPERS = {
    "top-k 5": TopKLogitsWarper(5),
    "top-k 20": TopKLogitsWarper(20),
    "top-p 0.8": TopPLogitsWarper(0.8),
    "top-p 0.95": TopPLogitsWarper(0.95),
    "min-p 0.05": MinPLogitsWarper(0.05),
}


Slice = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def slice_() -> Slice:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(40, 60, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 60, (40,), generator=generator)
    seen = torch.rand(40, 60, generator=generator) < 0.2
    return logits, tokens, seen


def past_of(seen: torch.Tensor) -> Callable[[slice], alternatives.Past]:
    """The past in which each row's marked tokens were seen."""

    def past(rows: slice) -> alternatives.Past:
        some = seen[rows]
        first = some.long().argmax(-1, keepdim=True)
        return alternatives.Past(torch.where(some, torch.arange(some.shape[1]), first), some)

    return past


def measured(slice_: Slice, temperature: float = 0.8) -> dict[str, list[float]]:
    logits, tokens, seen = slice_
    table = alternatives.log_ratios(logits, tokens, past_of(seen), temperature=temperature, end_ids=(7,))
    return dict(zip(alternatives.ALTERNATIVES, table.tolist(), strict=True))


def expected(log_q: torch.Tensor, log_p: torch.Tensor, tokens: torch.Tensor) -> list[float]:
    ratio = log_q - log_p
    kl = torch.where(log_q > -math.inf, log_q.exp() * ratio, 0.0).sum()
    return [float(ratio.gather(1, tokens.unsqueeze(1)).sum()), float(kl)]


@pytest.mark.parametrize("name", list(WARPERS))
def test_truncations_are_those_of_transformers(slice_: Slice, name: str) -> None:
    logits, tokens, _ = slice_
    scaled = logits / 0.8
    log_q = torch.log_softmax(WARPERS[name](None, scaled), -1)
    assert measured(slice_)[name] == pytest.approx(expected(log_q, torch.log_softmax(scaled, -1), tokens))


def test_repetition_penalty_is_that_of_transformers(slice_: Slice) -> None:
    logits, tokens, seen = slice_
    longest = int(seen.sum(1).max())
    ids = torch.stack([(row.nonzero().squeeze(1).repeat(longest))[:longest] for row in seen])
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.2)])
    penalised = processors(ids, logits) / 0.8  # type: ignore[arg-type]
    log_q, log_p = torch.log_softmax(penalised, -1), torch.log_softmax(logits / 0.8, -1)
    assert measured(slice_)["repetition penalty 1.2"] == pytest.approx(expected(log_q, log_p, tokens))


def test_temperature_and_end_token(slice_: Slice) -> None:
    logits, tokens, _ = slice_
    log_p = torch.log_softmax(logits / 0.8, -1)
    log_q = torch.log_softmax(logits / (0.8 * 0.7), -1)
    assert measured(slice_)["temperature x 0.7"] == pytest.approx(expected(log_q, log_p, tokens))
    twice = log_p.clone()
    twice[:, 7] += math.log(2)
    twice = torch.log_softmax(twice, -1)
    assert measured(slice_)["end token twice as likely"] == pytest.approx(expected(twice, log_p, tokens))


def test_slices_do_not_matter(slice_: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(slice_)
    monkeypatch.setattr(token_statistics, "CACHE_ENTRIES", 7 * 60)
    for name, pair in measured(slice_).items():
        assert pair == pytest.approx(whole[name])


@torch.no_grad()
def test_the_policy_knows_what_was_seen() -> None:
    policy = tiny.policy(tiny.qwen2(), dtype=torch.float64)
    prompts = tiny.prompts(3)
    rollouts = tiny.sample(policy, prompts, G=2, limit=6)
    table = dict(zip(alternatives.ALTERNATIVES, policy.sampler_log_ratios(rollouts).tolist(), strict=True))
    total = 0.0
    for n, prompt in enumerate(prompts):
        for response in rollouts.responses(n):
            logits = policy.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            for k, token in enumerate(response):
                past = torch.tensor([prompt + response[:k]])
                penalised = RepetitionPenaltyLogitsProcessor(1.2)(past, logits[k : k + 1])
                total += float((torch.log_softmax(penalised, -1) - torch.log_softmax(logits[k : k + 1], -1))[0, token])
    assert table["repetition penalty 1.2"][0] == pytest.approx(total)


@pytest.mark.parametrize("ties", [False, True])
def test_the_ratio_has_mean_one_for_the_policys_own_draws(ties: bool) -> None:
    """Exactly: sum_t p(t) q(t)/p(t) = 1 for every alternative, over all tokens of one prefix."""
    logits = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if ties:
        logits = logits.round()
    seen = torch.zeros(1, 30, dtype=torch.bool)
    seen[0, :9] = True
    p = torch.softmax(logits, -1)[0]
    mean = torch.zeros(len(alternatives.ALTERNATIVES), dtype=torch.float64)
    for token in range(30):
        table = alternatives.log_ratios(logits, torch.tensor([token]), past_of(seen), temperature=1.0, end_ids=(3,))
        mean += p[token] * table[:, 0].exp()
    torch.testing.assert_close(mean, torch.ones_like(mean))


@pytest.mark.parametrize("spread", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_nucleus_is_the_shortest_sorted_prefix_of_its_mass(spread: float, dtype: torch.dtype) -> None:
    """Rounded to bfloat16 many tokens are equally likely."""
    generator = torch.Generator().manual_seed(5)
    log_p = torch.log_softmax(spread * torch.randn(20, 300, generator=generator), -1).to(dtype)
    log_p = log_p if dtype == torch.float64 else log_p.float()
    for mass in (0.3, 0.8, 0.95):
        found = nucleus_threshold(log_p, log_p.exp(), mass, torch.empty_like(log_p))
        for row, threshold in zip(log_p, found.squeeze(-1).tolist(), strict=True):
            p = sorted(row.double().exp().tolist(), reverse=True)
            total, k = 0.0, 0
            while total < mass * (1 - 1e-6) and k < len(p):
                total, k = total + p[k], k + 1
            assert math.exp(threshold) == pytest.approx(p[k - 1], rel=1e-6)


def test_nearly_all_probability_may_lie_on_what_was_seen() -> None:
    """1 minus it has no digits in float32; penalised, the token has e^-10 of its probability."""
    logits, seen = torch.zeros(1, 30), torch.zeros(1, 30, dtype=torch.bool)
    logits[0, 4], seen[0, 4] = 60.0, True
    found = [
        alternatives.log_ratios(x, torch.tensor([4]), past_of(seen), temperature=1.0, end_ids=(3,))
        for x in (logits, logits.double())
    ]
    assert math.exp(-60) < math.exp(-10) / 100
    row = list(alternatives.ALTERNATIVES).index("repetition penalty 1.2")
    torch.testing.assert_close(found[0][row], found[1][row], rtol=1e-5, atol=1e-9)
