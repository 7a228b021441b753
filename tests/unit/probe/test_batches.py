"""What share of the prompts there are a batch draws."""

from __future__ import annotations

import pytest

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.probe.batches import COUNTED, sampling_fraction
from pytest_entropy.prompts import DemoPrompts, Prompt
from tests.present import present


def some(count: int) -> list[Prompt]:
    return [Prompt(f"question {n}") for n in range(count)]


def test_the_share_is_that_of_distinct_prompts_outside_the_update() -> None:
    assert sampling_fraction(some(40), 32, exclude=frozenset(p.key for p in some(8))) == 1.0
    assert sampling_fraction(some(40), 10) == 0.25
    # Epochs of one set, or white space, make no new prompts.
    assert sampling_fraction([*some(40), *some(40), Prompt("question  1\n")], 10) == 0.25
    assert sampling_fraction(some(40), 10, replace=True) == 0.0


def test_a_large_set_is_counted_no_further_than_it_matters() -> None:
    class Counting(DemoPrompts):
        looked = 0

        def __getitem__(self, index: int) -> Prompt:
            Counting.looked += 1
            return super().__getitem__(index)

    assert sampling_fraction(Counting(), 8) == pytest.approx(8 / len(DemoPrompts()))
    assert Counting.looked < 2 * COUNTED * 8
    # A set that repeats itself beyond what is looked at is still known to be large.
    assert sampling_fraction(some(4000) * 5, 8) < 1 / COUNTED


def test_a_run_records_its_share_and_the_surprises_to_be_expected() -> None:
    config = ProbeConfig(B_U=4, G=2, max_new_tokens=16, chunk_tokens=2048)
    probe = EntropyProbe(load_checkpoint("demo"), config, prompts=[DemoPrompts()[97 * n] for n in range(12)])
    run = probe.run(6, 0)
    assert run.sampling_fraction == pytest.approx(6 / 8)
    assert run.asked == []
    # Of twelve responses of a policy that answers in several ways.
    assert 1 < present(run.expected_surprises) <= 12
