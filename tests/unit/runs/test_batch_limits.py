"""Batches that the prompts or the experiment cannot serve."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt
from pytest_entropy.runs.batch_limits import require_enough, require_one_update
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
