"""The forecast of a piece is what the piece holds when it is computed with real numbers, tensor by tensor."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.recomputation import recomputing
from pytest_entropy.probe.derivatives.derivative_piece import DerivativePiece
from pytest_entropy.probe.derivatives.gradient import GradientPiece
from pytest_entropy.probe.derivatives.objectives import Loss
from pytest_entropy.probe.memory.forecast import Forecast, PieceSize
from pytest_entropy.probe.memory.live_bytes import LiveBytes
from pytest_entropy.probe.memory.weightless import longest_rollouts, weightless
from tests import tiny

PROMPT, LIMIT = 7, 30


def policy(*, adapter: bool = True, vocabulary: int = 400) -> Policy:
    model = tiny.qwen2(vocabulary, hidden=64, layers=3)
    return tiny.policy(tiny.lora(model) if adapter else model, eos=())


@pytest.fixture(params=["lora", "full"])
def one(request: pytest.FixtureRequest) -> Policy:
    return policy(adapter=request.param == "lora")


def near(forecast: int, held: int) -> None:
    """Equal but for small tables of the attention kernel, and lists of numbers."""
    assert forecast == pytest.approx(held, rel=0.02)


def counted(piece: DerivativePiece | GradientPiece, policy: Policy) -> int:
    with LiveBytes() as live, sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        piece.compute(policy)
    return int(live.peak)


@pytest.mark.parametrize("size", [PieceSize(1, 1), PieceSize(1, 4), PieceSize(3, 4)])
def test_pieces_hold_what_was_forecast(one: Policy, size: PieceSize) -> None:
    forecast = Forecast(one, "action_value", PROMPT, LIMIT)
    rollouts = longest_rollouts(size.prompts, size.rows, prompt_tokens=PROMPT, limit=LIMIT, learns=True)
    direction = tiny.direction(one)
    held = counted(DerivativePiece(rollouts, (direction,), ("action_value",)), one)
    near(forecast.derivatives(size), held)
    weights = torch.ones(size.prompts, size.rows, dtype=torch.float64)
    held = counted(GradientPiece(rollouts, (Loss(weights),)), one)
    near(forecast.gradient(size), held)


def test_sampling_holds_what_was_forecast() -> None:
    one, prompts, group = policy(), 5, 4
    with LiveBytes() as live:
        one.sample([[5] * PROMPT] * prompts, torch.rand(prompts, group, LIMIT, dtype=torch.float64))
    near(Forecast(one, "action_value", PROMPT, LIMIT).sampling(prompts, group), live.peak)


def test_memory_grows_with_tokens_and_falls_by_recomputation() -> None:
    one = policy()
    plain, again = (Forecast(p, "rao_blackwell", PROMPT, 200) for p in (one, recomputing(one)))
    small, large = PieceSize(1, 1), PieceSize(1, 8)
    assert plain.derivatives(large) > 4 * plain.derivatives(small)
    assert again.derivatives(large) < 0.7 * plain.derivatives(large)
    assert again.gradient(large) < 0.7 * plain.gradient(large)


def test_a_copy_without_data_is_of_the_same_shapes_and_changes_nothing(one: Policy) -> None:
    before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
    copied = weightless(one)
    assert all(p.is_meta for p in copied.model.parameters())
    assert {n: (p.shape, p.dtype, p.requires_grad) for n, p in copied.model.named_parameters()} == {
        n: (p.shape, p.dtype, p.requires_grad) for n, p in one.model.named_parameters()
    }
    assert copied.trainable.keys() == one.trainable.keys()
    head, embedding = copied.model.get_output_embeddings(), copied.model.get_input_embeddings()
    assert head.weight is embedding.weight
    assert all(torch.equal(p, before[name]) for name, p in one.model.named_parameters())


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(1000, (8, 4)), (4 * 30 + 7, (1, 4)), (126, (1, 3)), (67, (1, 2)), (37, (1, 1)), (1, (1, 1))],
)
def test_the_largest_piece_within_a_budget(tokens: int, expected: tuple[int, int]) -> None:
    size = PieceSize.within(tokens, 4, PROMPT, LIMIT)
    assert (size.prompts, size.rows) == (expected[0] if expected[0] != 8 else 1000 // 127, expected[1])
