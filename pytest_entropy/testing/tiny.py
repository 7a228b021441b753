"""Tiny real models for tests: random weights, real architectures, real tokenizers and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.records.seeds import uniforms

CORPUS = ["Tom has 3 apples and buys 14 more. <think>3+4=7</think><answer>7</answer> 0123456789"]


def qwen2(vocabulary: int = 60, *, hidden: int = 32, layers: int = 2, seed: int = 0, **more: Any) -> Qwen2ForCausalLM:
    """A random Qwen2 in eval mode; its initial spread is large enough for entropies well below log V."""
    torch.manual_seed(seed)
    settings = {"max_position_embeddings": 128, "tie_word_embeddings": True, "eos_token_id": 1, **more}
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=None,
        **settings,
    )
    model = Qwen2ForCausalLM(config)
    model.eval()
    return model


def lora(model: Any, *, seed: int = 0, **settings: Any) -> Any:
    """The model with a LoRA adapter that is not the identity; returns the base with adapters inside."""
    torch.manual_seed(seed)
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "lora_dropout": 0.1, **settings}
    return get_peft_model(model, LoraConfig(init_lora_weights=False, **options)).get_base_model().eval()


def policy(model: Any, *, eos: tuple[int, ...] = (1,), temperature: float = 1.0, dtype: Any = torch.float32) -> Policy:
    """A policy without a tokenizer, for tests that speak in token ids."""
    model = model.to(dtype).eval()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Policy(model, None, trainable, eos, temperature)  # type: ignore[arg-type]


def prompts(count: int, vocabulary: int = 60, *, longest: int = 12, seed: int = 0) -> list[list[int]]:
    """Random prompts of different lengths; token 1 (the end) does not occur."""
    rng = np.random.default_rng(seed)
    return [rng.integers(2, vocabulary, size=rng.integers(2, longest + 1)).tolist() for _ in range(count)]


def sample(policy: Policy, prompt_ids: list[list[int]], *, G: int = 4, limit: int = 10, seed: int = 0) -> Rollouts:
    """Rollouts with the randomness the probe would give them."""
    table = np.stack([uniforms(seed, n, G, limit) for n in range(len(prompt_ids))])
    return policy.sample(prompt_ids, torch.from_numpy(table))


def direction(policy: Policy, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """A random direction in parameter space, float64."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in policy.trainable.items()
    }


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer whose padding is its end token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=320, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", pad_token="<eos>")


def trained_step(model: Any, parameters: Any, *, steps: int = 3, seed: int = 0, **options: Any) -> torch.optim.AdamW:
    """A few real AdamW steps on random text; returns the optimizer."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, **options)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(2, model.config.vocab_size, (4, 10), generator=generator)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def save_seed_checkpoint(root: Path, *, steps: int = 3, **adapter: Any) -> Path:
    """A LoRA checkpoint in the seed's layout: ``root/base`` and ``root/step_N/{model, optimizer.pt}``."""
    words = tokenizer()
    base = qwen2(len(words), eos_token_id=words.eos_token_id)
    base.save_pretrained(root / "base")
    words.save_pretrained(root / "base")
    torch.manual_seed(1)
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "lora_dropout": 0.1, **adapter}
    wrapped = get_peft_model(base, LoraConfig(init_lora_weights=False, **options))
    # All parameters, frozen ones too: the state has gaps, as the old trainer's has.
    optimizer = trained_step(wrapped, wrapped.parameters(), steps=steps)
    step = root / f"step_{steps}"
    wrapped.save_pretrained(str(step / "model"))
    torch.save(optimizer.state_dict(), step / "optimizer.pt")
    edit_json(step / "model" / "adapter_config.json", base_model_name_or_path="../../base")
    return step


def edit_json(path: Path, **changes: Any) -> None:
    """Overwrite keys of a JSON file of a tiny checkpoint."""
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **changes}))
