"""The bundled demo: it loads, still is what was recorded, and can be rebuilt."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checkpoints import demo
from pytest_entropy.checkpoints.load import Checkpoint
from pytest_entropy.prompts import word_problems
from tests.present import present


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("demo")


def test_the_artefact_is_small_and_the_recorded_one() -> None:
    files = [file for file in demo.PATH.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 4 * 2**20
    recorded: dict[str, Any] = demo.read_record()
    assert recorded["parameters"]["base"] <= 1_000_000
    for name, digest in recorded["sha256"].items():
        assert hashlib.sha256((demo.PATH / name).read_bytes()).hexdigest() == digest
    assert 0.3 < recorded["reward"]["mean"] < 0.8


def test_every_problem_is_another(checkpoint: Checkpoint) -> None:
    prompts = {word_problems.problem(i)[0] for i in range(word_problems.SIZE)}
    assert len(prompts) == word_problems.SIZE > 20_000
    with pytest.raises(IndexError, match="of 55296"):
        word_problems.problem(word_problems.SIZE)


def test_reward_and_entropy_are_as_recorded(checkpoint: Checkpoint) -> None:
    """Other prompts than the recording's: a two-sample comparison at 4 standard errors."""
    recorded: dict[str, Any] = demo.read_record()
    probe = EntropyProbe(checkpoint, ProbeConfig(B_U=96, max_new_tokens=32))
    update = probe.update(seed=5)
    rewards = np.array(update.rewards).mean(axis=1)
    gap = rewards.mean() - recorded["reward"]["mean"]
    assert abs(gap) < 4 * np.hypot(rewards.std(ddof=1) / 96**0.5, recorded["reward"]["se"])
    result = probe.run(96, seed=5, update=update)
    gap = result.entropy_mean - recorded["entropy"]["mean"]
    assert abs(gap) < 4 * np.hypot(present(result.entropy_se), recorded["entropy"]["se"])


@pytest.mark.slow
def test_the_next_update_is_resolvable(checkpoint: Checkpoint) -> None:
    """|mean s_n| / sd >= 0.15 for every U: 4 standard errors of the ratio (about 1/sqrt(n) each) above it."""
    for seed in range(3):
        probe = EntropyProbe(checkpoint, ProbeConfig(B_U=32, max_new_tokens=32))
        s = np.array(probe.run(64, seed=seed).per_prompt)
        assert abs(s.mean()) / s.std(ddof=1) - 4 / 64**0.5 > 0.15


def test_hostile_sampling_defaults_are_there_and_ignored(checkpoint: Checkpoint) -> None:
    assert checkpoint.ignored_generation_config["top_k"] == 20
    assert checkpoint.ignored_generation_config["temperature"] == 0.7
    assert checkpoint.policy.temperature == 1.0


@pytest.mark.slow
def test_the_build_is_deterministic(tmp_path: Path) -> None:
    from tools.demo.build import Recipe, build

    small = Recipe(pretraining_steps=6, pretraining_batch=8, grpo_steps=2, grpo_prompts=4, evaluation_prompts=8)
    first = build(tmp_path / "a" / "artefact", small)
    again = build(tmp_path / "b" / "artefact", small)
    assert first == again
