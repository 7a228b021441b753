"""Cycle collection is paused in a block, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from pytest_entropy.records.collection import uncollected


@pytest.fixture
def enabled() -> None:
    assert gc.isenabled()


def test_nothing_is_collected_in_the_block_and_again_after_an_error(enabled: None) -> None:
    def read() -> None:
        with uncollected():
            assert not gc.isenabled()
            raise ValueError("no run")

    with pytest.raises(ValueError, match="no run"):
        read()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(enabled: None) -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
