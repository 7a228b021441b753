"""Sizes of pieces: the fixed ones where there is room, else powers of two below them, or a refusal with numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.recomputation import recomputing
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.memory import budget
from pytest_entropy.probe.memory.budget import SHARE, Budget, budget_for
from pytest_entropy.probe.memory.forecast import Forecast, PieceSize
from pytest_entropy.settings.probe import LARGEST_CHUNK
from tests import tiny

PROMPT, LIMIT = 10, 100
CONFIG = ProbeConfig(B_U=4, G=4, max_new_tokens=LIMIT, sample_rows=16)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2(300, hidden=48, layers=2, max_position_embeddings=256)))


def chosen(policy: Policy, free: int | None, *, threads: int = 1, **settings: Any) -> Budget:
    config = ProbeConfig(**{**CONFIG.model_dump(), **settings})
    return budget_for(policy, config, prompt_tokens=lambda: PROMPT, threads=threads, free=free)


def need(policy: Policy, size: PieceSize) -> int:
    forecast = Forecast(policy, CONFIG.estimator, PROMPT, LIMIT)
    return max(forecast.derivatives(size), forecast.gradient(size))


def beside(policy: Policy) -> int:
    return budget.RESERVE + budget.VECTORS * sum(p.numel() for p in policy.trainable.values())


@pytest.mark.parametrize("free", [None, 2**40])
def test_with_room_the_sizes_are_the_fixed_ones(policy: Policy, free: int | None) -> None:
    sizes = chosen(policy, free)
    assert (sizes.chunk_tokens, sizes.sample_rows, sizes.recompute) == (LARGEST_CHUNK, 16, False)


def test_with_less_they_are_a_power_of_two_whose_forecast_fits(policy: Policy) -> None:
    free = beside(policy) + int(need(policy, PieceSize.within(2048, 4, PROMPT, LIMIT)) * 1.1 / SHARE)
    sizes = chosen(policy, free)
    assert sizes.chunk_tokens == 2048
    assert max(sizes.bytes_by_phase.values()) <= SHARE * free
    assert "2048 tokens" in sizes.in_words()


def test_freed_blocks_return_only_where_they_might_be_missed(policy: Policy) -> None:
    needed = need(policy, PieceSize.within(LARGEST_CHUNK, 4, PROMPT, LIMIT))
    assert chosen(policy, beside(policy) + int(needed * 1.1 / SHARE)).is_tight
    assert not chosen(policy, beside(policy) + 3 * needed).is_tight
    assert not chosen(policy, None).is_tight


def test_threads_share_what_is_free(policy: Policy) -> None:
    free = beside(policy) + int(need(policy, PieceSize.within(4096, 4, PROMPT, LIMIT)) * 1.2 / SHARE)
    assert chosen(policy, free, threads=4).chunk_tokens < chosen(policy, free).chunk_tokens == 4096


def test_a_piece_may_be_a_part_of_a_group(policy: Policy) -> None:
    free = beside(policy) + int(need(policy, PieceSize(1, 2)) * 1.02 / SHARE)
    assert PROMPT + LIMIT <= chosen(policy, free).chunk_tokens < PROMPT + 4 * LIMIT


def test_a_configured_size_is_kept(policy: Policy) -> None:
    free = beside(policy) + need(policy, PieceSize(1, 2))
    assert chosen(policy, free, chunk_tokens=8000).chunk_tokens == 8000


def test_layers_are_recomputed_where_one_response_does_not_fit_otherwise(policy: Policy) -> None:
    plain, again = need(policy, PieceSize(1, 1)), need(recomputing(policy), PieceSize(1, 1))
    assert again < plain
    sizes = chosen(policy, beside(policy) + (plain + again) // 2)
    assert sizes.recompute
    assert "recomputed" in sizes.in_words()


def test_what_cannot_fit_is_refused_with_its_numbers_and_what_helps(policy: Policy) -> None:
    with pytest.raises(
        UsageError, match=r"of one response of 100 tokens need \d MiB, 6\d MiB more .*lower sampling\.max_new"
    ):
        chosen(policy, beside(policy) + need(recomputing(policy), PieceSize(1, 1)) // 2)


def test_work_far_below_what_is_free_is_not_forecast(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "Forecast", None)
    assert chosen(policy, 2**40).bytes_by_phase == {}
