"""Drawing by blocks against one cumulative sum in float64, at the size of a real vocabulary."""

from __future__ import annotations

import pytest
import torch

from pytest_entropy.policy import block_search, distribution
from pytest_entropy.policy.block_search import invert

V = 151_936
NEARLY_ONE = 1 - 2**-53


def by_one_sum(log_probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The inversion as small vocabularies have it."""
    cumulative = log_probs.double().exp().cumsum(-1)
    target = (uniform.double() * cumulative[:, -1]).unsqueeze(-1)
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)


def distributions(kind: str, rows: int, size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, size, generator=generator)
    if kind == "with zeros":
        logits = logits.masked_fill(torch.rand(rows, size, generator=generator) < 0.7, -torch.inf)
        logits[:, : size // 3] = -torch.inf
        logits[:, -(size // 5) :] = -torch.inf
    elif kind == "one token":
        logits = torch.full_like(logits, -torch.inf)
        logits.scatter_(1, torch.randint(size, (rows, 1), generator=generator), 0.0)
    elif kind == "flat":
        logits = torch.zeros_like(logits)
    else:
        logits *= float(kind)
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize("kind", ["flat", "0.1", "1", "5", "50", "with zeros", "one token"])
@pytest.mark.parametrize("size", [V, V - 3, 20_001])
def test_tokens_are_those_of_one_cumulative_sum(kind: str, size: int) -> None:
    for seed in range(3):
        log_probs = distributions(kind, 32, size, seed)
        uniform = torch.rand(32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert torch.equal(invert(log_probs, uniform), by_one_sum(log_probs, uniform))


@pytest.mark.parametrize("kind", ["flat", "1", "50", "with zeros", "one token"])
@pytest.mark.parametrize("u", [0.0, 5e-324, 0.5, NEARLY_ONE])
def test_the_ends_of_the_unit_interval(kind: str, u: float) -> None:
    log_probs = distributions(kind, 64, V, 7)
    uniform = torch.full((64,), u, dtype=torch.float64)
    tokens, expected = invert(log_probs, uniform), by_one_sum(log_probs, uniform)
    if u < 0.1:
        assert torch.equal(tokens, expected)
    # Near 1 cumulative sums that are rounded in another order may differ by some units in the last place.
    assert float(distribution.draw_discrepancy(log_probs, tokens, uniform).max()) < 1e-13
    drawn = log_probs.gather(1, tokens.unsqueeze(1))
    assert bool((drawn > -torch.inf).all())


@pytest.mark.parametrize("scale", [1, 20, 200])
def test_random_numbers_at_the_borders_of_tokens_and_blocks(monkeypatch: pytest.MonkeyPatch, scale: int) -> None:
    monkeypatch.setattr(block_search, "BLOCK", 4)
    monkeypatch.setattr(block_search, "SPAN", 16)
    log_probs = distributions(str(scale), 200, 61, 3)
    cumulative = log_probs.double().exp().cumsum(-1)
    for token in range(60):
        at = cumulative[:, token] / cumulative[:, -1]
        for uniform in (at, at.nextafter(torch.zeros_like(at)), at.nextafter(torch.ones_like(at))):
            uniform = uniform.clamp(max=NEARLY_ONE)
            tokens = invert(log_probs, uniform)
            assert float(distribution.draw_discrepancy(log_probs, tokens, uniform).max()) < 1e-14
            assert bool((log_probs.gather(1, tokens.unsqueeze(1)) > -torch.inf).all())


def test_large_vocabularies_are_drawn_by_blocks_and_small_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def watched(log_probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        used.append(log_probs.shape[-1])
        return invert(log_probs, uniform)

    monkeypatch.setattr(distribution, "invert", watched)
    for size in (1000, V):
        log_probs, uniform = distributions("1", 4, size, 0), torch.tensor([0.1, 0.4, 0.5, 0.9], dtype=torch.float64)
        assert torch.equal(distribution.draw(log_probs, uniform), by_one_sum(log_probs, uniform))
    assert used == [V]


def test_the_discrepancy_of_a_draw_is_that_of_one_cumulative_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs = distributions("5", 50, 1000, 1)
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tokens = by_one_sum(log_probs, uniform)
    other = (tokens + 1) % 1000
    whole = [distribution.draw_discrepancy(log_probs, t, uniform) for t in (tokens, other)]
    monkeypatch.setattr(distribution, "CHECKED_TOKENS", 64)
    in_parts = [distribution.draw_discrepancy(log_probs, t, uniform) for t in (tokens, other)]
    torch.testing.assert_close(in_parts, whole, rtol=0, atol=1e-14)
    assert float(in_parts[0].max()) < 1e-14
    assert float(in_parts[1].max()) > 1e-3
