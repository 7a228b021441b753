"""What is measured: the demo checkpoint with its update, and random models of three sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import long_answers
from benchmarks.long_answers.chains import ChainPrompts
from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checkpoints.demo import CHECKPOINT
from pytest_entropy.policy import merged_adapter
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import derive, uniforms

LIMIT, G, B_U = 32, 8, 32
# Fastest on the demo for every method (docs/performance.md); the default of 16384 suits larger models and GPUs.
CHUNK_TOKENS = 2048
SETTINGS: dict[str, int] = {"B_U": B_U, "G": G, "max_new_tokens": LIMIT, "chunk_tokens": CHUNK_TOKENS}
# Of the update batch: the predecessor's estimator is heavy-tailed on some of them, so that one alone says little.
SEEDS = (0, 1, 2)
# hidden size, layers: about 0.1, 1 and 5 million weights beside a vocabulary of 384.
SIZES = {"small": (64, 2), "medium": (128, 4), "large": (256, 6)}


@dataclass
class Workload:
    """A probe on the demo checkpoint with the update of one seed."""

    probe: EntropyProbe
    update: Update
    dtype: str

    @classmethod
    def demo(cls, *, seed: int = 0, dtype: str = "float32", **config: Any) -> Workload:
        """The demo checkpoint; ``config`` overrides the probe's settings."""
        settings = ProbeConfig(**{**SETTINGS, **config})
        probe = EntropyProbe(load_checkpoint(CHECKPOINT, dtype=dtype), settings)
        return cls(probe, probe.update(seed), dtype)

    @classmethod
    def long(cls, *, seed: int = 0, dtype: str = "float32", **config: Any) -> Workload:
        """The checkpoint of :mod:`.long_answers`, whose responses have 80 to 250 tokens.

        Raises:
            FileNotFoundError: it is not built.
        """
        if not long_answers.CHECKPOINT.is_dir():
            raise FileNotFoundError(f"{long_answers.CHECKPOINT}: python -m benchmarks.long_answers.build")
        settings = ProbeConfig(**{**SETTINGS, "max_new_tokens": long_answers.LIMIT, "chunk_tokens": 4096, **config})
        loaded = load_checkpoint(long_answers.CHECKPOINT, dtype=dtype)
        probe = EntropyProbe(loaded, settings, prompts=ChainPrompts())
        return cls(probe, probe.update(seed), dtype)

    def rollouts(self, B_E: int, seed: int, *, estimator: str | None = None) -> Rollouts:
        """Fresh prompts and responses, as a run draws them."""
        _, drawn = self.probe.two_batch.entropy_batch(B_E, derive(seed, "benchmark"), self.update)
        return self.taught(drawn, estimator)

    def taught(self, rollouts: Rollouts, estimator: str | None) -> Rollouts:
        """The rollouts with what the update batch has taught, if the estimator uses it; it costs others time."""
        learns = estimator is not None and get_estimator(estimator).learns
        return replace(rollouts, control_variate=self.update.control_variate if learns else None)

    def run(self, B_E: int, seed: int) -> RunRecord:
        """A whole run along the update, as a session takes it: sampling, derivatives, companion reads."""
        return self.probe.run(B_E, seed, update=self.update)

    def scalars(self, rollouts: Rollouts, *estimators: str) -> dict[str, np.ndarray]:
        """s_n by estimator, as the probe takes them."""
        chunk = self.probe.config.tokens_at_once
        return directional_derivatives(
            self.probe.policy, rollouts, self.update.direction, estimators, chunk_tokens=chunk
        ).per_prompt


@contextmanager
def unmerged() -> Iterator[None]:
    """A block in which adapters stay as they are."""
    before, merged_adapter.LARGEST = merged_adapter.LARGEST, 0
    try:
        yield
    finally:
        merged_adapter.LARGEST = before


def random_policy(hidden: int, layers: int) -> Policy:
    """A random Qwen2 with a LoRA adapter on every linear map, in the demo's shape."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=384,
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
    )
    wrapped = get_peft_model(
        Qwen2ForCausalLM(config), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    )
    model = wrapped.get_base_model().eval()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Policy(model, None, trainable, (0,))  # type: ignore[arg-type]


def random_prompts(count: int, length: int = 25, seed: int = 0) -> list[list[int]]:
    """Prompts of random tokens; the end token does not occur."""
    drawn: list[list[int]] = np.random.default_rng(seed).integers(1, 384, size=(count, length)).tolist()
    return drawn


def random_rollouts(policy: Policy, count: int, seed: int = 0) -> Rollouts:
    """Responses of a random policy, most of them as long as they may be."""
    table = np.stack([uniforms(seed, n, G, LIMIT) for n in range(count)])
    return policy.sample(random_prompts(count, seed=seed), torch.from_numpy(table))


def random_direction(policy: Policy) -> dict[str, torch.Tensor]:
    """A random direction in parameter space, float64."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in policy.trainable.items()
    }
