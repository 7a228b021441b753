"""Random models of real shapes, with all that a probe needs beside them; nothing is downloaded or read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from pytest_entropy.optimizers.state import AdamWState, ParameterState
from pytest_entropy.policy.policy import Policy
from pytest_entropy.prompts import Prompt

# Qwen2.5's shapes, and one of a few thousand weights.
SHAPES: dict[str, dict[str, Any]] = {
    "0.5B": {
        "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "1.5B": {
        "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "7B": {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
    # Not one of Qwen's: a small model with its vocabulary, all of whose weights are trained.
    "50M": {
        "vocab_size": 151936, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 12,
        "num_attention_heads": 8, "num_key_value_heads": 4, "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
}  # fmt: skip
RANKS = {"0.5B": 16, "1.5B": 64, "7B": 64, "tiny": 4}


@dataclass(frozen=True)
class RandomCheckpoint:
    """What :class:`~pytest_entropy.probe.EntropyProbe` takes for a checkpoint."""

    policy: Policy
    optimizer: AdamWState
    learning_rate: float = 1e-5
    learning_rate_source: str = "benchmark"


class Numerals:
    """Stands in for a tokenizer: the text of token 17 is "17"."""

    chat_template = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        """The ids as text."""
        return " ".join(map(str, ids))


def random_checkpoint(shape: str, *, device: str, dtype: str) -> RandomCheckpoint:
    """A random policy (:func:`random_policy`) and its optimizer's state."""
    policy = random_policy(shape, device=device, dtype=dtype)
    return RandomCheckpoint(policy, optimizer_state(policy))


def random_policy(shape: str, *, device: str, dtype: str) -> Policy:
    """A model of the shape in ``dtype``, made on the device, with a float32 adapter on every linear map.

    A shape without a rank has no adapter: all of its weights are trained.
    """
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPES[shape], eos_token_id=0, bos_token_id=None, max_position_embeddings=32768)
    rank = RANKS.get(shape)
    with torch.device(device), _default(getattr(torch, dtype)):
        model: Any = Qwen2ForCausalLM(config).eval()
        if rank is not None:
            adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False)
            model = get_peft_model(model, adapter).get_base_model().eval()
    for parameter in model.parameters():
        if parameter.requires_grad and rank is not None:
            # As the default initialisation leaves it large, responses would be noise of noise.
            parameter.data = parameter.data.float().mul_(0.1)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Policy(model, Numerals(), trainable, (0,))  # type: ignore[arg-type]


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Make new weights in ``dtype``: a float32 copy of 7B takes 30 GiB."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def optimizer_state(policy: Policy) -> AdamWState:
    """Moments as a few steps leave them, where a checkpoint's are: on the CPU."""
    rng = torch.Generator().manual_seed(0)

    def moments(shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(shape, generator=rng) * 1e-3, torch.rand(shape, generator=rng) * 1e-6 + 1e-8

    return {
        name: ParameterState(3, *moments(p.shape), 1e-5, (0.9, 0.999), 1e-8, 0.0)
        for name, p in policy.trainable.items()
    }


def random_prompts(count: int, length: int, vocabulary: int) -> list[Prompt]:
    """Prompts of random tokens, all of one length; token 0 ends a response and does not occur."""
    table = np.random.default_rng(0).integers(1, vocabulary, size=(count, length))
    return [Prompt(" ".join(map(str, row))) for row in table.tolist()]


def noise(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """A reward that differs from response to response, the same for the same text."""
    return [zlib.crc32(text.encode()) / 2**32 for text in completions]
