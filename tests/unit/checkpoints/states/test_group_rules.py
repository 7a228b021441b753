"""Optimizers' groups as each version of each trainer makes them: every state under its live parameter's name.

The trainers' rules are written here a second time, after their sources, and build real optimizers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import GPT2Config, GPT2LMHeadModel

from pytest_entropy.checkpoints import load_checkpoint
from pytest_entropy.checkpoints.states.parameter_order import split_by_decay
from pytest_entropy.errors import UsageError
from tests import tiny
from tests.unit.checkpoints.read_again import expect_read_again
from tests.unit.checkpoints.test_matrix import build

ARCHITECTURES = ("Llama", "Qwen2", "Qwen3", "Gemma", "Olmo2", "GPT2", "Phi", "GPTNeoX")
Groups = list[dict[str, Any]]


def small(architecture: str) -> Any:
    """A random model; GPT-2 has names of its own."""
    words = len(tiny.tokenizer())
    if architecture == "GPT2":
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"vocab_size": words, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
        return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    return build(architecture, words, tie_word_embeddings=architecture != "GPTNeoX")


def parameter_names(model: torch.nn.Module, classes: tuple[type, ...], forbidden: Callable[[str], bool]) -> list[str]:
    """transformers' ``get_parameter_names``: a name is judged from each of its dots on."""
    found = []
    for name, child in model.named_children():
        for inner in parameter_names(child, classes, forbidden):
            if not isinstance(child, classes) and not forbidden(f"{name}.{inner}".lower()):
                found.append(f"{name}.{inner}")
    return found + [name for name in model._parameters if not forbidden(name.lower())]


def norms(model: torch.nn.Module, *, registered: bool) -> tuple[type, ...]:
    """ALL_LAYERNORM_LAYERS, with the classes that a model's module appended, as LlamaRMSNorm was until 4.52."""
    kinds = {type(module) for module in model.modules() if "Norm" in type(module).__name__}
    return (torch.nn.LayerNorm, *(kinds if registered else ()))


def groups_of(model: torch.nn.Module, heavy: Iterable[str]) -> Groups:
    decay = set(heavy)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in named if name in decay], "weight_decay": 0.1},
        {"params": [p for name, p in named if name not in decay], "weight_decay": 0.0},
    ]


def current(model: torch.nn.Module) -> Groups:
    patterns = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
    forbidden = lambda name: any(re.search(pattern, name) for pattern in patterns)  # noqa: E731
    return groups_of(model, parameter_names(model, (torch.nn.LayerNorm,), forbidden))


def from_449(model: torch.nn.Module, *, registered: bool = False) -> Groups:
    forbidden = lambda name: any(word in name for word in ("bias", "layernorm", "rmsnorm"))  # noqa: E731
    return groups_of(model, parameter_names(model, norms(model, registered=registered), forbidden))


def before_449(model: torch.nn.Module, *, registered: bool = False) -> Groups:
    names = parameter_names(model, norms(model, registered=registered), lambda name: False)
    return groups_of(model, [name for name in names if "bias" not in name])


def without(*words: str) -> Callable[[torch.nn.Module], Groups]:
    return lambda model: groups_of(
        model, [name for name, _ in model.named_parameters() if not any(word in name for word in words)]
    )


def two_dimensions(model: torch.nn.Module) -> Groups:
    return groups_of(model, [name for name, p in model.named_parameters() if p.dim() >= 2])


TRAINERS: dict[str, Callable[[torch.nn.Module], Groups]] = {
    "transformers since 4.53": current,
    "transformers 4.49 to 4.52": from_449,
    "transformers 4.49 to 4.52, norms registered": lambda model: from_449(model, registered=True),
    "transformers before 4.49": before_449,
    "transformers before 4.49, norms registered": lambda model: before_449(model, registered=True),
    "OpenRLHF": without("bias", "layer_norm.weight", "layernorm.weight", "norm.weight", "ln_f.weight"),
    "open-instruct": without("bias", "layer_norm.weight"),
    "transformers' former examples": without("bias", "LayerNorm.weight"),
    "nanoGPT": two_dimensions,
    "one group": lambda model: [{"params": list(model.parameters()), "weight_decay": 0.0}],
}


def save(place: Path, live: Any, optimizer: torch.optim.Optimizer) -> None:
    live.save_pretrained(place)
    tiny.tokenizer().save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")


@pytest.mark.parametrize("trainer", list(TRAINERS))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_full_fine_tunes(tmp_path: Path, architecture: str, trainer: str) -> None:
    model = small(architecture)
    groups = TRAINERS[trainer](model)
    optimizer = tiny.trained_step(model, groups)
    save(tmp_path / "checkpoint-3", model, optimizer)
    loaded = load_checkpoint(tmp_path / "checkpoint-3")
    live = dict(model.named_parameters())
    assert set(loaded.optimizer) == set(live)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, state in loaded.optimizer.items():
        assert torch.equal(state.exp_avg, optimizer.state[live[name]]["exp_avg"]), name
        assert torch.equal(state.exp_avg_sq, optimizer.state[live[name]]["exp_avg_sq"]), name
        assert state.weight_decay == decay[id(live[name])], name
    # Some versions of transformers give GPT-NeoX's head another name on disk.
    renamed = "embed_out.weight" not in live and architecture == "GPTNeoX"
    expect_read_again(loaded, unread=("weights",) if renamed else ())


def test_the_rule_is_said(tmp_path: Path) -> None:
    model = small("Qwen3")
    for trainer, words in {
        "transformers since 4.53": "order of HF Trainer / TRL checkpoints; not proved",
        "transformers 4.49 to 4.52": "order of HF Trainer / TRL checkpoints, groups of transformers 4.49 to 4.52; ",
        "one group": "order of HF Trainer / TRL checkpoints; not proved",
    }.items():
        place = tmp_path / trainer.replace(" ", "") / "checkpoint-3"
        save(place, model, tiny.trained_step(model, TRAINERS[trainer](model)))
        assert load_checkpoint(place).mapping.startswith(words)


def loraplus(model: Any) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=4.0
    )
    return optimizer


def factory_loraplus(model: Any) -> torch.optim.Optimizer:
    """LLaMA-Factory's: A, B, B without decay, embeddings' B."""
    parts: dict[str, list[Any]] = {"A": [], "B": [], "light": [], "embedding": []}
    for name, p in model.named_parameters():
        if p.requires_grad:
            kind = "embedding" if "lora_embedding_B" in name else "B" if "lora_B" in name or p.dim() == 1 else "A"
            parts["light" if kind == "B" and "bias" in name else kind].append(p)
    rates = {"A": 1e-3, "B": 4e-3, "light": 4e-3, "embedding": 1e-6}
    return torch.optim.AdamW([{"params": some, "lr": rates[kind]} for kind, some in parts.items()])


def unsloth(model: Any) -> torch.optim.Optimizer:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    saved = [p for name, p in named if name.endswith("modules_to_save.default.weight")]
    rest = [p for name, p in named if not name.endswith("modules_to_save.default.weight")]
    return torch.optim.AdamW([{"params": rest, "lr": 1e-3}, {"params": saved, "lr": 1e-4}])


ADAPTERS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], dict[str, Any]]] = {
    "peft's LoRA+": (loraplus, {"target_modules": "all-linear"}),
    "peft's LoRA+ with embeddings": (loraplus, {"target_modules": ["embed_tokens", "q_proj", "v_proj"]}),
    "peft's LoRA+ with biases": (loraplus, {"target_modules": ["q_proj"], "bias": "all"}),
    "LLaMA-Factory's LoRA+": (factory_loraplus, {"target_modules": "all-linear"}),
    "Unsloth's embeddings": (unsloth, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize("case", list(ADAPTERS))
def test_adapters_with_rates_by_group(tmp_path: Path, case: str) -> None:
    make, settings = ADAPTERS[case]
    base = build("Qwen2", len(tiny.tokenizer()), tie_word_embeddings=False)
    base.save_pretrained(tmp_path / "base")
    live = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, **settings))
    optimizer = make(live)
    for _ in range(2):
        ids = torch.randint(1, 40, (2, 8))
        live(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    save(tmp_path / "checkpoint-3", live, optimizer)
    tiny.edit_json(tmp_path / "checkpoint-3" / "adapter_config.json", base_model_name_or_path="../base")
    loaded = load_checkpoint(tmp_path / "checkpoint-3")
    named = {name.removeprefix("base_model.model."): p for name, p in live.named_parameters() if p.requires_grad}
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert set(loaded.optimizer) == set(named)
    for name, state in loaded.optimizer.items():
        assert torch.equal(state.exp_avg, optimizer.state[named[name]]["exp_avg"]), name
        assert state.lr == rates[id(named[name])], name
    expect_read_again(loaded)


class Odd(torch.nn.Module):
    """Two norms of one shape; which of them has no decay differs between two trainers."""

    def __init__(self) -> None:
        super().__init__()
        self.rmsnorm = torch.nn.ParameterDict({"scale": torch.zeros(4)})
        self.layer_norm = torch.nn.ParameterDict({"weight": torch.zeros(4)})
        self.linear = torch.nn.Linear(4, 4, bias=False)


def test_two_trainers_groups_of_equal_shapes_are_refused_by_their_names() -> None:
    names = ["rmsnorm.scale", "layer_norm.weight", "linear.weight"]
    groups: Groups = [
        {"params": [0, 1], "shapes": [(4,), (4, 4)], "weight_decay": 0.1},
        {"params": [2], "shapes": [(4,)], "weight_decay": 0.0},
    ]
    with pytest.raises(UsageError, match=r"fit transformers 4.49 to 4.52 and OpenRLHF.*, which number layer_norm"):
        split_by_decay(Odd(), names, groups)


def test_shapes_tell_groups_of_equal_sizes_apart() -> None:
    """LoRA+'s A and B are as many; only in A's place do moments of A's shape fit."""
    model = torch.nn.Module()
    for layer in "xy":
        for part, shape in (("lora_A", (2, 6)), ("lora_B", (8, 2))):
            model.register_parameter(f"{layer}_{part}", torch.nn.Parameter(torch.zeros(shape)))
    names = [name for name, _ in model.named_parameters()]
    right: Groups = [{"params": [0, 1], "shapes": [(2, 6)] * 2}, {"params": [2, 3], "shapes": [(8, 2)] * 2}]
    assert split_by_decay(model, names, right) == ["x_lora_A", "y_lora_A", "x_lora_B", "y_lora_B"]
    with pytest.raises(UsageError, match="which no known trainer makes of this model"):
        split_by_decay(model, names, right[::-1])
