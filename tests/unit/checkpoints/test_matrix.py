"""Architectures, adapters and precisions: states under the live optimizer's names, s_n as a plain backward gives it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from pytest_entropy.checkpoints import load_checkpoint
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from tests import tiny
from tests.architectures import text
from tests.unit.checkpoints.read_again import expect_read_again
from tests.unit.probe.derivatives.test_directional import plain

ARCHITECTURES = ("Qwen2", "Qwen3", "Llama", "Gemma", "Gemma3Text")


def build(architecture: str, vocabulary: int, **more: Any) -> Any:
    """A random model of two layers; token 1 to V-1 are words."""
    model = f"{architecture.removesuffix('Text')}ForCausalLM"
    return text(architecture, model=model, **more)(vocabulary)


def save(
    root: Path, model: Any, *, adapter: dict[str, Any] | None, stored: torch.dtype
) -> tuple[Path, dict[str, dict[str, torch.Tensor]]]:
    """A checkpoint after three real steps; also the live optimizer's state by live name, the oracle."""
    words = tiny.tokenizer()
    model = model.to(stored)
    place = root / "checkpoint-3"
    if adapter is None:
        live = model
    else:
        model.save_pretrained(root / "base")
        torch.manual_seed(1)
        settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "lora_dropout": 0.1, **adapter}
        if unknown := settings.keys() - inspect.signature(LoraConfig).parameters.keys():
            pytest.skip(f"this peft has no {', '.join(unknown)}")
        live = get_peft_model(model, LoraConfig(init_lora_weights=False, **settings))
    named = {name: p for name, p in live.named_parameters() if p.requires_grad}
    light = [p for name, p in named.items() if name.endswith("bias") or "norm" in name]
    heavy = [p for p in named.values() if not any(p is other for other in light)]
    # As transformers' Trainer groups them: norms and biases last, without decay.
    groups = [{"params": heavy, "weight_decay": 0.1}, {"params": light, "weight_decay": 0.0}]
    with torch.autocast("cpu", torch.bfloat16, enabled=stored != torch.float32):
        # float16 has no 1e-8: torch would divide by zero.
        optimizer = tiny.trained_step(live, groups, eps=1e-4 if stored == torch.float16 else 1e-8)
    live.save_pretrained(place)
    if adapter is not None and adapter.get("bias") == "lora_only" and not any("bias" in k for k in WeightsFile(place)):
        pytest.skip("this peft does not save the biases that it trains")
    words.save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    if adapter is not None:
        tiny.edit_json(place / "adapter_config.json", base_model_name_or_path="../base")
    prefix = "base_model.model." if adapter is not None else ""
    return place, {name.removeprefix(prefix): optimizer.state[p] for name, p in named.items()}


def check(place: Path, oracle: dict[str, dict[str, torch.Tensor]], *, unread: tuple[str, ...] = ()) -> Any:
    """The loaded checkpoint agrees with the live optimizer and with plain backward passes."""
    checkpoint = load_checkpoint(place)
    assert set(checkpoint.optimizer) == set(oracle) == set(checkpoint.policy.trainable)
    for name, state in checkpoint.optimizer.items():
        assert torch.equal(state.exp_avg, oracle[name]["exp_avg"]), name
        assert torch.equal(state.exp_avg_sq, oracle[name]["exp_avg_sq"]), name
        assert state.weight_decay == (0.0 if name.endswith("bias") or "norm" in name else 0.1), name
    expect_read_again(checkpoint, unread=unread)
    policy = checkpoint.policy
    assert all(p.dtype == torch.float32 for p in policy.trainable.values())
    vocabulary = policy.model.config.vocab_size
    rollouts = tiny.sample(policy, tiny.prompts(4, vocabulary), G=3, limit=8)
    gradient = {name: torch.ones_like(p) * 1e-3 for name, p in policy.trainable.items()}
    u = update_direction("adamw", gradient, checkpoint.optimizer, policy.trainable)
    names = ["rao_blackwell", "reinforce_loo"]
    fast = directional_derivatives(policy, rollouts, u, names, chunk_tokens=100)
    for name in names:
        slow = plain(policy, rollouts, u, name)
        assert np.abs(slow).max() > 0
        assert np.abs(fast.per_prompt[name] - slow).max() <= 1e-4 * np.abs(slow).max(), name
    back = {name: -x for name, x in u.items()}
    at_once = directional_derivatives(policy, rollouts, back, names[:1], chunk_tokens=100, also=[u])
    np.testing.assert_array_equal(at_once.along[names[0]][0], fast.per_prompt[names[0]])
    np.testing.assert_array_equal(at_once.per_prompt[names[0]], -fast.per_prompt[names[0]])
    return checkpoint


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(tmp_path: Path, architecture: str, kind: str) -> None:
    model = build(architecture, len(tiny.tokenizer()))
    check(*save(tmp_path, model, adapter={} if kind == "lora" else None, stored=torch.float32))


ADAPTERS: dict[str, dict[str, Any]] = {
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "rsLoRA and DoRA, biases": {"use_rslora": True, "use_dora": True, "bias": "all"},
    "all biases": {"bias": "all"},
    "LoRA's biases": {"bias": "lora_only"},
    "attention only": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "feed-forward only": {"target_modules": ["gate_proj", "up_proj", "down_proj"]},
    "by pattern, one layer": {"target_modules": r".*\.layers\.1\..*(q|v)_proj"},
    "a rank per module": {"rank_pattern": {"q_proj": 2, "down_proj": 6}, "alpha_pattern": {"q_proj": 3}},
    "norms saved whole": {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm", "norm"]},
    "embeddings and the head tied to them saved whole": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["embed_tokens"],
        "ensure_weight_tying": True,
    },
}
UNTIED = {
    "head saved whole": {"modules_to_save": ["lm_head"]},
    "embeddings saved whole": {"modules_to_save": ["embed_tokens"]},
    "embeddings and head saved whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "embeddings adapted": {"target_modules": ["embed_tokens", "q_proj"]},
    "head adapted": {"target_modules": ["lm_head", "q_proj"]},
}


# Known faults of the tangent, not of loading: peft multiplies DoRA's A and B with an identity matrix, whose rows are no
# batch of prompts; and DoRA subtracts the base layer's bias again, which the hook on that layer has already moved.


@pytest.mark.parametrize("case", list(ADAPTERS))
def test_adapters_on_tied_embeddings(tmp_path: Path, case: str) -> None:
    model = build("Qwen2", len(tiny.tokenizer()), tie_word_embeddings=True)
    checkpoint = check(*save(tmp_path, model, adapter=ADAPTERS[case], stored=torch.float32))
    loaded = checkpoint.policy.model
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()


# peft says, when saving, what it does by default.
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize("case", list(UNTIED))
def test_adapters_on_embeddings(tmp_path: Path, case: str) -> None:
    model = build("Llama", len(tiny.tokenizer()), tie_word_embeddings=False)
    check(*save(tmp_path, model, adapter=UNTIED[case], stored=torch.float32))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_whole_models_with_and_without_a_head_of_their_own(tmp_path: Path, tied: bool) -> None:
    model = build("Llama", len(tiny.tokenizer()), tie_word_embeddings=tied)
    checkpoint = check(*save(tmp_path, model, adapter=None, stored=torch.float32))
    assert ("lm_head.weight" in checkpoint.optimizer) == (not tied)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_precisions_on_disk(tmp_path: Path, stored: torch.dtype, kind: str) -> None:
    """Half precision on disk is computed in float32: the same numbers, exactly represented."""
    model = build("Qwen3", len(tiny.tokenizer()))
    place, oracle = save(tmp_path, model, adapter={} if kind == "lora" else None, stored=stored)
    checkpoint = check(place, oracle)
    weights = dict(model.named_parameters())
    loaded = {name: p for name, p in checkpoint.policy.model.named_parameters() if "lora_" not in name}
    assert loaded
    for name, p in loaded.items():
        assert weights[name].dtype == stored
        assert torch.equal(p, weights[name].float()), name
    precise = load_checkpoint(place, dtype="float64")
    assert all(p.dtype == torch.float64 for p in precise.policy.model.parameters())


def test_tensors_by_another_name_on_disk(tmp_path: Path) -> None:
    """transformers renames some on the way in: GPT-NeoX's head lies there as embed_out."""
    model = build("GPTNeoX", len(tiny.tokenizer()), tie_word_embeddings=False)
    place, oracle = save(tmp_path, model, adapter=None, stored=torch.float32)
    # The second reading knows no renaming: a tensor by another name is not read again.
    checkpoint = check(place, oracle, unread=("weights",))
    assert set(checkpoint.stored_names) == set(checkpoint.optimizer)
    on_disk = WeightsFile(place)
    for name, key in checkpoint.stored_names.items():
        assert torch.equal(on_disk.read(key), checkpoint.policy.trainable[name]), name


def build_with_experts() -> Any:
    """A random model whose feed-forward layers are four experts, two of them for each token."""
    more = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
    model = build("Qwen3Moe", len(tiny.tokenizer()), **more)
    if isinstance(model.model.layers[0].mlp.experts, torch.nn.ModuleList):
        pytest.skip("this transformers has a module per expert, which sees only the rows routed to it")
    return model


def test_experts_and_their_router(tmp_path: Path) -> None:
    """Modules that return several tensors, or have no forward-mode derivative, take the plain backward."""
    model = build_with_experts()
    # On disk each expert is a module; the second reading does not put them together.
    check(*save(tmp_path, model, adapter=None, stored=torch.float32), unread=("weights",))


# "all-linear" makes parameters its targets where a layer's experts are one tensor; the gate's rank is doubled there.
EXPERTS: dict[str, dict[str, Any]] = {
    "all linear maps": {"target_modules": "all-linear"},
    "experts only": {"target_modules": [], "target_parameters": ["mlp.experts.down_proj"]},
}


# peft does not find again what its own patterns name.
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize("case", list(EXPERTS))
def test_adapters_on_experts(tmp_path: Path, case: str) -> None:
    model = build_with_experts()
    adapter = {**EXPERTS[case], "lora_dropout": 0.0}
    checkpoint = check(*save(tmp_path, model, adapter=adapter, stored=torch.float32))
    ranks = {len(p) for name, p in checkpoint.policy.trainable.items() if "experts" in name and "lora_A" in name}
    assert ranks == {16, 32} if case == "all linear maps" else {16}
