"""The tiny models and checkpoints of :mod:`pytest_entropy.testing`, for tests here."""

from pytest_entropy.records.seeds import uniforms
from pytest_entropy.testing.tiny import (
    CORPUS,
    direction,
    edit_json,
    lora,
    policy,
    prompts,
    qwen2,
    sample,
    save_seed_checkpoint,
    tokenizer,
    trained_step,
)

__all__ = [
    "CORPUS", "direction", "edit_json", "lora", "policy", "prompts", "qwen2", "sample", "save_seed_checkpoint",
    "tokenizer", "trained_step", "uniforms",
]  # fmt: skip
