"""The policy scores tokens as the model does that transformers and peft alone load from the same files."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "model_is_loaded",
    "the policy's log-probabilities are those of the model that transformers and peft load from the files, in nats",
    "another model than the files': its base, adapter, lora scaling, rotary positions, norms (eps), output layer or "
    "temperature",
    "scores",
)
