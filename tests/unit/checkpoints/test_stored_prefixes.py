"""Tensors with prefixes, as wrappers and trainers save them: read as those without, or refused while planning.

Each file is made from a checkpoint that reads well, by renaming; that one's numbers are the oracle.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.load import Checkpoint
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.checkpoints.renamed_copy import adapter_as_expected
from pytest_entropy.checkpoints.stored_prefixes import replaced_prefix
from pytest_entropy.errors import UsageError
from pytest_entropy.reports.header import base_lines
from tests import tiny
from tests.unit.checkpoints.strangers import copy, full
from tests.unit.checkpoints.test_matrix import build

__all__ = ["copy", "full"]

Rename = Callable[[str], str]


def rename(file: Path, new: Rename) -> None:
    tensors = {new(key): tensor.clone() for key, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def in_layers(part: str) -> Rename:
    return lambda key: re.sub(r"(layers\.\d+\.)", rf"\1{part}.", key)


def before(part: str) -> Rename:
    return lambda key: f"{part}.{key}"


WHOLE: dict[str, Rename] = {
    "torch.compile": before("_orig_mod"),
    "torch.compile by layer": in_layers("_orig_mod"),
    "DDP": before("module"),
    "DDP of DDP": before("module.module"),
    "FSDP": lambda key: before("_fsdp_wrapped_module")(
        in_layers("_fsdp_wrapped_module._checkpoint_wrapped_module")(key)
    ),
    "activation checkpointing": in_layers("_checkpoint_wrapped_module"),
    "Lightning Fabric": before("_forward_module"),
    "a module named model": before("model"),
    "a policy": before("policy"),
    "an actor's model": before("actor.model"),
    "TRL's value head model": before("pretrained_model"),
    "DDP of a compiled policy": before("module._orig_mod.policy"),
    "an agent's network": before("agent.net"),
    "a language model's": before("language_model"),
    "language model inside": lambda key: re.sub(r"^model\.", "model.language_model.", key),
    "peft's, merged": before("base_model.model"),
    "some layers only": lambda key: f"_orig_mod.{key}" if "layers.0." in key else key,
}


def expect_same(found: Checkpoint, wanted: Checkpoint) -> None:
    """The same weights and moments, under keys that are on disk, and no difference in the second reading."""
    assert set(found.policy.trainable) == set(wanted.policy.trainable)
    for name, parameter in wanted.policy.trainable.items():
        assert torch.equal(found.policy.trainable[name], parameter), name
        assert torch.equal(found.optimizer[name].exp_avg, wanted.optimizer[name].exp_avg), name
    file = next(found.files.weights.glob("*.safetensors"))
    assert {found.stored_names[name] for name in found.policy.trainable} <= set(load_file(file))
    reading = found.read_again(found.policy, found.optimizer)
    assert reading.differing == {}
    assert not {"weights", "moments", "optimizer_scalars"} & set(reading.unread)


@pytest.mark.parametrize("case", list(WHOLE))
def test_whole_models(full: Path, case: str) -> None:
    wanted = load_checkpoint(full)
    assert wanted.files.renamed == ""
    rename(full / "model.safetensors", WHOLE[case])
    files = find_checkpoint(full)
    assert re.search(r"^\d+ of 26 tensors of full are read under other names, such as \S+ as \S+$", files.renamed)
    screen(files)
    found = load_checkpoint(full)
    expect_same(found, wanted)
    assert found.mapping.endswith(files.renamed)


def test_a_sharded_model(full: Path) -> None:
    wanted = load_checkpoint(full)
    tensors = {f"_orig_mod.{key}": tensor for key, tensor in load_file(full / "model.safetensors").items()}
    (full / "model.safetensors").unlink()
    shard_of = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(tensors)}
    for name in set(shard_of.values()):
        part = {key: tensor for key, tensor in tensors.items() if shard_of[key] == name}
        save_file(part, full / name, metadata={"format": "pt"})
    record = {"metadata": {}, "weight_map": shard_of}
    (full / "model.safetensors.index.json").write_text(json.dumps(record))
    found = load_checkpoint(full)
    assert all(torch.equal(found.policy.trainable[name], p) for name, p in wanted.policy.trainable.items())
    assert not found.read_again(found.policy, found.optimizer).differing


ADAPTERS: dict[str, Rename] = {
    "torch.compile": before("_orig_mod"),
    "torch.compile inside": lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
    "DDP": before("module"),
    "FSDP": lambda key: before("_fsdp_wrapped_module")(in_layers("_fsdp_wrapped_module")(key)),
    "activation checkpointing": in_layers("_checkpoint_wrapped_module"),
    "without peft's": lambda key: key.removeprefix("base_model.model."),
    "peft's twice": before("base_model.model"),
    "half of peft's": lambda key: key.replace("base_model.model.", "base_model."),
    "a policy": before("policy"),
    "the adapter's name": lambda key: key.replace(".weight", ".default.weight"),
    "another adapter's name": lambda key: key.replace(".weight", ".lora.weight"),
    "language model inside": lambda key: key.replace(".model.model.", ".model.model.language_model."),
    "language model outside": lambda key: key.replace(".model.model.", ".model.language_model.model."),
    "no model": lambda key: key.replace(".model.model.", ".model."),
}


@pytest.mark.parametrize("case", list(ADAPTERS))
def test_adapters(copy: Path, case: str) -> None:
    wanted = load_checkpoint(copy)
    rename(copy / "model" / "adapter_model.safetensors", ADAPTERS[case])
    files = find_checkpoint(copy)
    assert re.search(r"^28 of 28 tensors of model are read under other names, such as \S+ as base_model", files.renamed)
    screen(files)
    found = load_checkpoint(copy)
    expect_same(found, wanted)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
def test_an_adapter_with_modules_saved_whole_and_biases(tmp_path: Path) -> None:
    """As a raw state_dict names them, with the adapter's name in each."""
    base = build("Qwen2", len(tiny.tokenizer()), tie_word_embeddings=False)
    base.save_pretrained(tmp_path / "base")
    settings: dict[str, Any] = {"use_dora": True, "bias": "all", "modules_to_save": ["lm_head"]}
    live = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, **settings))
    optimizer = tiny.trained_step(live, [p for p in live.parameters() if p.requires_grad])
    place = tmp_path / "checkpoint-3"
    live.save_pretrained(str(place))
    tiny.tokenizer().save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    tiny.edit_json(place / "adapter_config.json", base_model_name_or_path="../base")
    wanted = load_checkpoint(place)

    def raw(key: str) -> str:
        key = re.sub(r"(lora_[AB])\.", r"\1.default.", key)
        return "_orig_mod." + key.replace("lm_head.weight", "lm_head.modules_to_save.default.weight")

    rename(place / "adapter_model.safetensors", raw)
    expect_same(load_checkpoint(place), wanted)


def test_an_adapters_base_with_prefixes(copy: Path) -> None:
    wanted = load_checkpoint(copy)
    rename(copy.parent / "base" / "model.safetensors", before("_orig_mod"))
    files = find_checkpoint(copy)
    screen(files)
    assert "tensors of base are read under other names, such as _orig_mod." in files.renamed
    expect_same(load_checkpoint(copy), wanted)


def multimodal() -> Any:
    """Gemma 3 with images, whose two towers have layers of the same names."""
    torch.manual_seed(0)
    text = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config={**text, **heads}, vision_config={**vision, **sizes}, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


@pytest.mark.parametrize("kind", ["text adapter on a model with images", "the other way round"])
def test_an_adapter_of_the_same_model_with_or_without_images(tmp_path: Path, kind: str) -> None:
    """Names of real adapters of both models; the text part of the larger model is found, not the part that sees."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    text = build("Gemma3Text", 64, head_dim=8, **sizes)
    larger = multimodal()
    pattern = r"^(?!.*vision).*\.(q_proj|v_proj)$"
    trained, used = (text, larger) if kind.startswith("text") else (larger, text)
    settings = LoraConfig(r=3, target_modules=pattern, init_lora_weights=False)
    get_peft_model(trained, settings).save_pretrained(str(tmp_path))
    with adapter_as_expected(tmp_path, used) as (place, names):
        assert len(names) == 8
        assert place != tmp_path
        given = load_file(place / "adapter_model.safetensors")
    modules = {name for name, _ in used.named_modules()}
    stems = {key.removeprefix("base_model.model.").partition(".lora_")[0] for key in given}
    assert stems <= modules
    assert all(("language_model" in stem) == (used is larger) for stem in stems)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert all(torch.equal(given[name], stored[key]) for key, name in names.items())


def test_two_adapters_in_one_file_are_refused(copy: Path) -> None:
    file = copy / "model" / "adapter_model.safetensors"
    tensors = load_file(file)
    both = {key.replace(".weight", f".{name}.weight"): t.clone() for key, t in tensors.items() for name in ("a", "ref")}
    save_file(both, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"holds \S+\.a\.weight and \S+\.ref\.weight, which are the same tensor"):
        screen(find_checkpoint(copy))


def test_a_tensor_with_and_without_a_prefix_is_refused(full: Path) -> None:
    tensors = load_file(full / "model.safetensors")
    more = {f"_orig_mod.{key}": tensor.clone() for key, tensor in tensors.items()}
    save_file({**tensors, **more}, full / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"are the same tensor without wrappers' prefixes .*keep those of one model"):
        screen(find_checkpoint(full))


BESIDE: dict[str, tuple[Rename, Rename, str]] = {
    "a value head": (
        before("pretrained_model"), lambda key: "v_head.summary.weight" if key == "model.norm.weight" else "",
        r"holds pretrained_model\.\S+ and v_head.summary.weight, a model's tensors beside others: keep those of",
    ),
    "a critic": (before("actor"), before("critic"), r"holds actor\.\S+ and critic\.\S+, a model's tensors beside"),
    "an adapter": (
        str, lambda key: key.replace("weight", "lora_A.default.weight") if "q_proj" in key else "",
        r"q_proj\.lora_A\.default\.\w+, a tensor of an adapter that is not merged .*merge_and_unload",
    ),
    "its adapter's base layers": (
        lambda key: key.replace("q_proj.", "q_proj.base_layer."), lambda key: "",
        r"q_proj\.base_layer\.\w+, a tensor of an adapter that is not merged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BESIDE))
def test_what_lies_beside_a_policy_is_not_left_out_in_silence(full: Path, case: str) -> None:
    own, other, message = BESIDE[case]
    tensors = load_file(full / "model.safetensors")
    more = {other(key): tensor.clone() for key, tensor in tensors.items() if other(key)}
    save_file({**{own(key): t for key, t in tensors.items()}, **more}, full / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=message):
        screen(find_checkpoint(full))


def test_names_that_no_prefix_explains_are_shown_with_a_remedy(full: Path) -> None:
    rename(full / "model.safetensors", lambda key: f"policy:{key}")
    message = r"lack 27 tensors .*They hold 26 others, for instance policy:model.norm.weight: rename its tensors, for"
    with pytest.raises(UsageError, match=message):
        load_checkpoint(full)


def test_an_adapter_without_a_module_of_its_base_is_refused_with_a_remedy(copy: Path) -> None:
    file = copy / "model" / "adapter_model.safetensors"
    rename(file, lambda key: key.replace("self_attn", "attention").replace("mlp", "feed_forward"))
    with pytest.raises(UsageError, match=r"none of which belongs to a module of its base model .*rename its tensors"):
        screen(find_checkpoint(copy))


def test_the_remedy_works(copy: Path) -> None:
    """What the message about names advises is run as it stands."""
    wanted = load_checkpoint(copy)
    file = copy / "model" / "adapter_model.safetensors"
    shutil.copy(file, copy / "good")
    rename(file, lambda key: "strange." + re.sub(r"layers\.(\d+)", r"blocks.\1", key))
    with pytest.raises(UsageError) as raised:
        screen(find_checkpoint(copy))
    command = str(raised.value).split("for instance with: ")[1].split(", FILE being in")[0]
    assert "removeprefix('strange.')" in command
    rename(copy / "good", before("strange"))
    shutil.copy(copy / "good", file)
    exec(command, {"FILE": str(file)})
    assert find_checkpoint(copy).renamed == ""
    expect_same(load_checkpoint(copy), wanted)


def test_the_header_says_it(copy: Path) -> None:
    rename(copy / "model" / "adapter_model.safetensors", before("policy"))

    class Plan:
        files = find_checkpoint(copy)

        class resolved:
            class config:
                checkpoint = "somewhere"

    base, weights = base_lines(Plan())
    assert base.startswith("  base model: ")
    assert weights.startswith("  weights: 28 of 28 tensors of model are read under other names, such as policy.base")


@pytest.mark.parametrize(
    ("names", "wanted", "table"),
    [
        (["p.a.b", "p.c.d"], ["a.b", "c.d"], {"p.a.b": "a.b", "p.c.d": "c.d"}),
        (["a.b.c"], ["x.a.b.c", "y.a.b.c"], None),
        (["a.b.c"], ["text.a.b.c", "vision.a.b.c"], {"a.b.c": "text.a.b.c"}),
        (["p.a.b", "q.a.b"], ["a.b"], None),
        (["p.a.b", "p.e.f"], ["a.b", "c.d"], None),
        (["a.b"], ["c.d"], None),
        ([], ["c.d"], None),
    ],
)
def test_one_prefix_is_replaced_or_none(names: list[str], wanted: list[str], table: dict[str, str] | None) -> None:
    assert replaced_prefix(names, wanted) == table


PARAMETERS: dict[str, Rename] = {
    "a policy": before("policy"),
    "an actor's module": before("module.actor"),
    "a compiled model": before("_orig_mod"),
    "peft's once more": before("base_model.model"),
    "model twice": before("model"),
}


@pytest.mark.parametrize("where", ["param_names", "keys", "side file"])
@pytest.mark.parametrize("case", list(PARAMETERS))
def test_names_in_the_optimizer(full: Path, case: str, where: str) -> None:
    wanted = load_checkpoint(full)
    record = torch.load(full / "optimizer.pt", weights_only=True)
    names = [PARAMETERS[case](name) for name in wanted.policy.trainable]
    if where == "param_names":
        record["param_groups"][0]["param_names"] = names
    elif where == "keys":
        record["state"] = {name: record["state"][number] for number, name in enumerate(names)}
        record["param_groups"][0]["params"] = names
    else:
        (full / "optimizer_param_names.json").write_text(json.dumps(names))
    torch.save(record, full / "optimizer.pt")
    found = load_checkpoint(full)
    for name, state in wanted.optimizer.items():
        assert torch.equal(found.optimizer[name].exp_avg, state.exp_avg), name
    assert not found.read_again(found.policy, found.optimizer).differing
    assert "names in " in found.mapping
