"""Numbers of drawn tokens from slices of rows, and from hidden states: their plain definitions in float64."""

from __future__ import annotations

import math

import pytest
import torch

from pytest_entropy.policy import token_statistics as module
from pytest_entropy.policy.action_values import AddedValues, ControlVariateTables
from pytest_entropy.policy.head_statistics import HeadStatistics
from pytest_entropy.policy.logits import PiecewiseLogits, is_plain
from pytest_entropy.policy.token_statistics import Asked, TokenNumbers, token_statistics
from tests.present import present

V, N, H = 50, 7, 6


@pytest.fixture(autouse=True)
def three_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_ENTRIES", 3 * V)


def made(dtype: torch.dtype = torch.float64) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(H, V).to(dtype).requires_grad_(False)
    head.weight.mul_(6)
    # Equally likely tokens.
    head.weight[9], head.bias[9] = head.weight[8], head.bias[8]
    hidden = torch.randn(N, H, dtype=dtype)
    tokens = torch.tensor([8, 9, 3, 11, 49, 0, 8])
    return head, hidden.requires_grad_(), tokens, torch.rand(N, dtype=torch.float64)


def by_definition(
    logits: torch.Tensor, tokens: torch.Tensor, asked: Asked, uniform: torch.Tensor | None = None
) -> TokenNumbers:
    log_p = torch.log_softmax(logits.double() / asked.temperature, -1)
    p, drawn = log_p.exp(), log_p.gather(-1, tokens.unsqueeze(-1))
    values = torch.zeros(len(tokens), V, dtype=torch.float64)
    if asked.values is not None:
        values[:, : len(asked.values)] = asked.values
    if asked.added is not None:
        for row, first, count in zip(values, asked.added.first, asked.added.count, strict=True):
            for place in range(int(first), int(first + count)):
                row[asked.added.ids[place]] += asked.added.values[place]
    ranks = spread = tied = None
    if uniform is not None:
        above, tied = (p * (log_p > drawn)).sum(-1), (p * ((log_p - drawn).abs() < 1e-12)).sum(-1)
        mean = -(p * log_p).sum(-1)
        ranks, spread = above + uniform * tied, ((p * log_p.square()).sum(-1) - mean.square()).sqrt()
    nats, expected = -(p * log_p).sum(-1), (p * values).sum(-1)
    return TokenNumbers(drawn.squeeze(-1), nats, expected, log_p.amax(-1), ranks, spread, tied)


def few_values() -> torch.Tensor:
    values = torch.zeros(20, dtype=torch.float64)
    values[[3, 8, 19]] = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return values


def added_in_contexts() -> AddedValues:
    """Three pairs in the first context, which has one token without a value of its own, one in the second."""
    tables = ControlVariateTables(
        torch.zeros(1, dtype=torch.float64),
        few_values(),
        torch.tensor([-1, -1, -1, 4]),
        torch.tensor([0, 8, 40, 3]),
        torch.tensor([0.7, -0.4, 1.5, 2.0], dtype=torch.float64),
        torch.zeros(0, dtype=torch.int64),
        torch.ones((), dtype=torch.float64),
        torch.zeros((), dtype=torch.float64),
        torch.zeros(0, dtype=torch.float64),
    )
    return tables.added_in(torch.tensor([-1, 4, 5, 4, -1, -1, 7]))


ASKED = {
    "values in contexts": Asked(0.7, few_values(), added_in_contexts(), torch.tensor([0, 3, 8, 19, 40])),
    "a value of each token, and in contexts": Asked(
        1.0, torch.linspace(-1, 2, V, dtype=torch.float64), added_in_contexts()
    ),
    "no values": Asked(0.7),
    "few values": Asked(0.7, few_values(), support=torch.tensor([0, 3, 8, 19])),
    "a value of each token": Asked(1.0, torch.linspace(-1, 2, V, dtype=torch.float64)),
}


def combined(found: TokenNumbers) -> torch.Tensor:
    weights = torch.linspace(-1, 2, 3 * N, dtype=torch.float64).reshape(3, N)
    return torch.stack([(w * present(x).double()).sum() for w, x in zip(weights, found[:3], strict=True)]).sum()


@pytest.mark.parametrize("kind", list(ASKED))
@pytest.mark.parametrize("way", ["logits", "hidden states"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_numbers_and_gradients_are_the_definitions(kind: str, way: str, dtype: torch.dtype) -> None:
    head, hidden, tokens, uniform = made(dtype)
    asked, tolerance = ASKED[kind], 1e-10 if dtype == torch.float64 else 2e-5
    if way == "logits":
        found = token_statistics(head(hidden), tokens, asked, uniform)
    else:
        found = TokenNumbers(*HeadStatistics.apply(hidden, head, tokens, asked, uniform, 4))  # type: ignore[no-untyped-call]
    expected = by_definition(head.double()(hidden.double()), tokens, asked, uniform)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(present(one).double(), present(other), rtol=tolerance, atol=tolerance)
    (g,) = torch.autograd.grad(combined(found), hidden, retain_graph=True)
    (h,) = torch.autograd.grad(combined(expected), hidden)
    torch.testing.assert_close(g, h, rtol=10 * tolerance, atol=10 * tolerance)
    # A second backward, as for a second estimator.
    assert torch.equal(torch.autograd.grad(combined(found), hidden)[0], g)


def test_half_precision_keeps_the_gradient_of_a_certain_token() -> None:
    """1 - p is 3e-4 there, less than what a bfloat16 probability near 1 resolves."""
    head, hidden, _, _ = made()
    torch.nn.init.zeros_(head.weight)
    head.weight[4], head.bias[:] = 1.0, 0.0
    asked, tokens = Asked(1.0, ASKED["a value of each token"].values), torch.full((N,), 4)
    x = torch.full((N, H), 2.0).requires_grad_()
    expected = torch.autograd.grad(combined(by_definition(head(x.double()), tokens, asked)), x)[0]
    half, low = head.bfloat16(), x.detach().bfloat16().requires_grad_()
    found = HeadStatistics.apply(low, half, tokens, asked, None, 4)  # type: ignore[no-untyped-call]
    (g,) = torch.autograd.grad(combined(TokenNumbers(*found)), low)
    torch.testing.assert_close(g.float(), expected, rtol=0.03, atol=1e-9)


def test_a_token_of_probability_zero_adds_nothing() -> None:
    logits = torch.randn(2, V, dtype=torch.float64)
    logits[:, 5] = -math.inf
    asked = Asked(1.0, torch.ones(V, dtype=torch.float64))
    x = logits.requires_grad_()
    found = token_statistics(x, torch.tensor([1, 2]), asked, torch.rand(2, dtype=torch.float64))
    rest = torch.cat([logits[:, :5], logits[:, 6:]], -1).detach()
    expected = torch.distributions.Categorical(logits=rest)
    torch.testing.assert_close(found.entropies, expected.entropy())
    torch.testing.assert_close(found.expected, torch.ones(2, dtype=torch.float64))
    assert torch.isfinite(torch.autograd.grad(found.entropies.sum(), x)[0]).all()


def test_ranks_are_uniform_over_each_distribution() -> None:
    """Exactly: over all tokens of a distribution the intervals of the ranks cover (0, 1) once."""
    logits = torch.randn(1, V, dtype=torch.float64).round()
    tokens, p = torch.arange(V), torch.softmax(logits, -1)[0]
    rows = logits.expand(V, -1)
    low, high = (
        present(token_statistics(rows, tokens, Asked(1.0), torch.full((V,), v, dtype=torch.float64)).ranks)
        for v in (0.0, 1.0)
    )
    # The mean of a rank, (low + high) / 2, is 1/2; its mean square 1/3.
    assert float((p * (low + high) / 2).sum()) == pytest.approx(0.5, abs=1e-12)
    assert float((p * (low**2 + low * high + high**2) / 3).sum()) == pytest.approx(1 / 3, abs=1e-12)


def test_only_a_frozen_linear_map_without_hooks_is_plain() -> None:
    head = made()[0]
    assert is_plain(head)
    handle = head.register_forward_hook(lambda module, args, out: out)
    assert not is_plain(head)
    handle.remove()
    assert is_plain(head)
    head.weight.requires_grad_(True)
    assert not is_plain(head)
    head.weight.requires_grad_(False)
    torch.nn.utils.parametrizations.weight_norm(head)
    assert not is_plain(head)
    replaced = made()[0]
    replaced.forward = lambda x: 2 * x  # type: ignore[assignment, method-assign]
    assert not is_plain(replaced)


def test_tokens_that_do_not_count_get_neither_numbers_nor_gradients() -> None:
    head, hidden, _, _ = made()
    rows = hidden.detach().repeat(4, 1)[:24].reshape(4, 6, H).clone().requires_grad_()
    tokens, mask = torch.randint(V, (2, 2, 6)), torch.arange(6) < torch.tensor([[6, 2], [3, 1]]).unsqueeze(-1)
    pieces = PiecewiseLogits(rows, head, group=2, positions=2)
    uniform = torch.rand(2, 2, 6, dtype=torch.float64)
    found = pieces.statistics(Asked(0.9), tokens, mask, uniform)
    whole = token_statistics(head(rows).reshape(2, 2, 6, V), tokens, Asked(0.9), uniform)
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(present(one), present(other) * mask)
    (g,) = torch.autograd.grad(found.entropies.sum() + found.log_probs.square().sum(), rows)
    (h,) = torch.autograd.grad((whole.entropies * mask).sum() + (whole.log_probs * mask).square().sum(), rows)
    torch.testing.assert_close(g, h)
