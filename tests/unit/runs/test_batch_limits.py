"""Batches that the prompts or the experiment cannot serve."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt
from pytest_entropy.runs.batch_limits import allowed_reads, require_enough, require_one_update
from pytest_entropy.settings.experiments import kind_of
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config


def configured(mode: str = "two_batch", **batches: object) -> ResolvedConfig:
    sizes = {"B_E_values": [4], "B_U": 2, **batches}
    return resolve_config([Layer("asked.yaml", {"checkpoint": "demo", "probe": {"mode": mode}, "batch_config": sizes})])


def refusal(call: Callable[[], None]) -> str:
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("mode", "texts", "said"),
    [
        ("two_batch", "abcdef", ""),
        ("two_batch", "abcde", "5 prompts are 1 too few for B_E 4 [+] B_U 2 disjoint prompts"),
        ("two_batch", "abcdea", r"5 different prompts [(]of 6[)] are 1 too few for B_E 4 [+] B_U 2 disjoint"),
        ("u_statistic", "abcd", ""),
        ("u_statistic", "abc", "3 prompts are 1 too few for B_E 4 different prompts"),
    ],
)
def test_a_batch_needs_as_many_different_prompts_as_it_draws(mode: str, texts: str, said: str) -> None:
    config = configured(mode).config
    refused = refusal(lambda: require_enough([Prompt(text, {}) for text in texts], config))
    assert bool(refused) == bool(said)
    assert re.search(said, refused)


@pytest.mark.parametrize(
    ("experiment", "mode", "updates", "said"),
    [
        ("batch_scaling", "two_batch", 1, ""),
        ("single_run", "two_batch", 2, ""),
        ("batch_scaling", "two_batch", 2, "asked.yaml.*updates is 2, and batch_scaling compares runs along one"),
        ("single_run", "u_statistic", 2, "u_statistic every run draws an update of its own: give .*runs_per_batch"),
    ],
)
def test_several_updates_are_taken_where_runs_are_not_compared(
    experiment: str, mode: str, updates: int, said: str
) -> None:
    refused = refusal(lambda: require_one_update(kind_of(experiment), configured(mode, updates=updates)))
    assert bool(refused) == bool(said)
    assert re.search(said, refused)


@pytest.mark.parametrize(
    ("prompts", "batches", "reads", "said"),
    [
        # A tenth of the prompts beside U, over the largest B_E.
        (2 + 10 * 8 * 16, {}, 8, ""),
        (
            2 + 10 * 8 * 16 - 1,
            {},
            7,
            "reads: 7 instead of 8: more would be over a tenth of 1279 prompts, for B_E 16",
        ),
        (2 + 10 * 2 * 16, {}, 2, "companion reads: 2 instead of 8"),
        (2 + 10 * 2 * 16 - 1, {}, 0, "companion reads: none instead of 8"),
        (30, {"reads": 0}, 0, ""),
    ],
)
def test_companions_are_at_most_a_tenth_of_the_prompts(
    prompts: int, batches: dict[str, Any], reads: int, said: str
) -> None:
    """The same number at every B_E, so that all runs' scalars are of one law."""
    resolved = configured(B_E_values=[4, 16], **batches)
    found, notes = allowed_reads(resolved, [Prompt(str(n), {}) for n in range(prompts)])
    assert found.config.batch_config.reads == reads
    assert bool(notes) == bool(said)
    assert said in "".join(notes)


@pytest.mark.parametrize(
    ("prompts", "reads", "most", "said"),
    [
        (2 + 10 * 16 * 16, "auto", 16, ""),
        (2 + 10 * 5 * 16, "auto", 5, "reads: 5 instead of at most 16: more would be over a tenth of 800 prompts"),
        (2 + 10 * 2 * 16 - 1, 0, 16, "reads: none instead of at most 16"),
    ],
)
def test_what_an_update_may_choose_is_bounded_alike(prompts: int, reads: int | str, most: int, said: str) -> None:
    resolved = configured(B_E_values=[4, 16], reads="auto")
    found, notes = allowed_reads(resolved, [Prompt(str(n), {}) for n in range(prompts)])
    assert (found.config.batch_config.reads, found.config.batch_config.most_reads) == (reads, most)
    assert said in "".join(notes)
    assert bool(notes) == bool(said)
    # Each key says where its own value comes from.
    lowered = {"batch_config.most_reads": "built-in default; more"} if most < 16 else {}
    lowered |= {"batch_config.reads": "asked.yaml; more"} if not reads else {}
    assert all(found.sources[key].startswith(source) for key, source in lowered.items())


def test_reads_that_are_not_supported_are_left_out_and_whoever_asks_is_told() -> None:
    prompts = [Prompt(str(n), {}) for n in range(10_000)]
    found, notes = allowed_reads(configured("u_statistic"), prompts)
    assert (found.config.batch_config.reads, notes) == (0, ())
    asked, (note,) = allowed_reads(configured("u_statistic", reads=4), prompts)
    assert asked.config.batch_config.reads == 0
    assert "none instead of 4 (asked.yaml): mode u_statistic multiplies parts of single prompts" in note
    assert allowed_reads(configured("u_statistic", reads="auto"), prompts)[0].config.batch_config.reads == 0
    found, (note,) = allowed_reads(configured(), prompts[:500] * 3)
    assert found.config.batch_config.reads == 0
    assert "1000 of 1498 rows repeat a prompt" in note
    some = [Layer("asked.yaml", {"checkpoint": "demo", "prompts": {"with_replacement": True}})]
    assert allowed_reads(resolve_config(some), prompts[:40])[0].config.batch_config.reads == 8
