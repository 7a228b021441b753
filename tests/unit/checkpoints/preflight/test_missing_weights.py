"""Weights without a layer or an output layer are refused by their headers, as loading them is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.missing_weights import require_all_weights
from pytest_entropy.errors import UsageError
from tests import tiny


def check(place: Path) -> None:
    require_all_weights(CheckpointFiles("test", Path("C"), place, False, place / "optimizer.pt", None))


def llama(place: Path) -> None:
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(place)


def gpt2(place: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2)).save_pretrained(place)


def without(place: Path, part: str) -> None:
    tensors = {key: value for key, value in load_file(place / "model.safetensors").items() if part not in key}
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


FAULTS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any], str]] = {
    "a layer": (llama, lambda p: without(p, ".layers.1."), r"layer 1 of 3 \(model.layers.1\)"),
    "more layers asked for": (
        gpt2, lambda p: tiny.edit_json(p / "config.json", n_layer=4), r"layer 3 of 4 \(transformer.h.3\)"
    ),
    "the output layer": (
        llama, lambda p: without(p, "lm_head"), r"the output layer lm_head.weight \(tie_word_embeddings is false\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_missing_is_named(tmp_path: Path, case: str) -> None:
    save, damage, words = FAULTS[case]
    save(tmp_path)
    check(tmp_path)
    damage(tmp_path)
    with pytest.raises(UsageError, match=f"its weights lack {words}, which its config.json asks for"):
        check(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(tmp_path), output_loading_info=True)
    assert loaded[1]["missing_keys"]


def test_what_is_whole_passes(tmp_path: Path) -> None:
    tiny.qwen2(40, layers=2).save_pretrained(tmp_path)
    check(tmp_path)
    # A layer beyond the configured ones is not loaded.
    tiny.edit_json(tmp_path / "config.json", num_hidden_layers=1)
    check(tmp_path)
    # Of several stacks, which one the number counts is not known.
    tiny.edit_json(tmp_path / "config.json", num_hidden_layers=9)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "encoder.layers.0.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    check(tmp_path)
