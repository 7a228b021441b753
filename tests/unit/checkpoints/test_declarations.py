"""Configurations by strangers: what they declare is checked against what is there before anything is built of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.errors import UsageError
from tests import tiny
from tests.unit.checkpoints.strangers import canary, copy, full, refused

__all__ = ["canary", "copy", "full"]

ADAPTER: dict[str, tuple[dict[str, Any], str | None]] = {
    "rank": ({"r": 10**9}, "declares rank 1000000000, but .*lora_A.* has 4"),
    "rank as pattern": ({"rank_pattern": {"q_proj": 10**9}}, "declares rank 1000000000, the largest of a tensor is 4"),
    "rank of other tensors": ({"r": 8}, "declares rank 8, but .* has 4: the tensors do not belong"),
    "rank zero": ({"r": 0}, "rank 0 is not a positive whole number"),
    "rank negative": ({"r": -4}, "rank -4 is not a positive"),
    "rank a string": ({"r": "4"}, "rank '4' is not a positive"),
    "rank pattern a list": ({"rank_pattern": [3]}, r"rank \[3\] is not a positive"),
    "alpha zero": ({"lora_alpha": 0}, "lora_alpha 0: it scales every update to nothing"),
    "alpha absurd": ({"lora_alpha": 1e30}, "lora_alpha 1e\\+30"),
    "alpha not a number": ({"lora_alpha": float("nan")}, "lora_alpha nan"),
    "alpha a string": ({"lora_alpha": "8"}, "lora_alpha '8'"),
    "alpha of a module zero": ({"alpha_pattern": {"q_proj": 0}}, "lora_alpha 0: it scales every update to nothing"),
    "alpha pattern a list": ({"alpha_pattern": [3]}, r"lora_alpha \[3\]"),
    "rank of 4000 digits": ({"r": 10**4000}, r"declares rank 1000*\.\.\., but"),
    "other adapters": ({"peft_type": "IA3"}, "adapter of type 'IA3'; only LoRA"),
    "prompt tuning": ({"peft_type": "PROMPT_TUNING"}, "adapter of type 'PROMPT_TUNING'"),
    "layers copied": ({"layer_replication": [[0, 10**9]]}, "layer_replication is not supported"),
    "a module to import": (
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        "megatron_config is not supp",
    ),
    "a start by chance": (
        {"init_lora_weights": "pissa_niter_4"},
        "'pissa_niter_4' has changed the base model's weights",
    ),
    "a start from data": ({"init_lora_weights": "corda"}, "'corda' has changed the base model's weights"),
    "a start from gradients": ({"init_lora_weights": "lora_ga"}, "'lora_ga' has changed the base model's weights"),
    "parameters that are not there": (
        {"r": 3, "target_parameters": ["experts"]},
        "declares rank 3, but .*lora_A.* has 4",
    ),
    "no such modules": ({"target_modules": ["nowhere"]}, "target_modules .*nowhere.* does not name .28 of 28."),
    "fewer modules": ({"target_modules": ["q_proj"]}, "target_modules .*q_proj.* does not name .24 of 28."),
    "a broken pattern": ({"target_modules": "(["}, "loading .* failed"),
    "targets a number": ({"target_modules": 3}, "loading .* failed"),
    "unknown keys": ({"surprise": 1, "use_surprise": False, "surprise_config": None, "author": "me"}, None),
    "an unknown switch": ({"use_surprise": True}, "'use_surprise' is set, which the installed peft .* would ignore"),
    "an unknown part": (
        {"surprise_config": {"k": 1}, "peft_version": "0.99"},
        "'surprise_config' is set, .* install the peft of '0.99' that wrote it",
    ),
    "rank in a type's place": ({"peft_type": 4}, "adapter of type 4"),
}


# It takes the model to know.
LATE = {"a broken pattern", "targets a number", "an unknown switch", "an unknown part"}
LATE |= {"numbers that become none", "one layer more", "no architecture", "another architecture"}


@pytest.mark.parametrize("case", list(ADAPTER))
def test_adapter_configuration(copy: Path, case: str) -> None:
    changes, message = ADAPTER[case]
    tiny.edit_json(copy / "model" / "adapter_config.json", **changes)
    if message is None:
        load_checkpoint(copy)
    else:
        refused(copy, message, early=case not in LATE)


def test_a_tensor_less_or_more(copy: Path) -> None:
    path = copy / "model" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    save_file({k: v for k, v in tensors.items() if k != name}, path, metadata={"format": "pt"})
    refused(
        copy,
        "no tensor for 1 of 28 trainable parameters .*layers.1.mlp.up_proj.lora_B.*peft would initialise them anew",
        early=False,
    )
    more = name.replace("layers.1", "layers.7")
    save_file({**tensors, more: tensors[name].clone()}, path, metadata={"format": "pt"})
    refused(
        copy, "holds 1 tensors that .* no place for, for instance .*layers.7.mlp.up_proj.lora_B.weight", early=False
    )
    save_file({**tensors, name: torch.zeros(3, 4)}, path, metadata={"format": "pt"})
    refused(copy, "layers.1.mlp.up_proj' is adapted as a weight of 3 x 32, and the base has 64 x 32")
    save_file({**tensors, "x" * 5000: torch.zeros(1)}, path, metadata={"format": "pt"})
    refused(copy, "holds 1 tensors that .* no place for", early=False)
    save_file({**tensors, name.replace("lora_B", "lora_A"): torch.tensor(1.0)}, path, metadata={"format": "pt"})
    refused(copy, "a single number: not a LoRA adapter's weights")
    save_file({"x": torch.zeros(1)}, path, metadata={"format": "pt"})
    refused(copy, "holds no lora_A tensor")


def test_a_start_by_chance_with_the_base_it_changed(tmp_path: Path) -> None:
    """What the message advises gives the model that was trained."""
    words = tiny.tokenizer()
    start: Any = "pissa_niter_4"
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], init_lora_weights=start)
    model = get_peft_model(tiny.qwen2(len(words), eos_token_id=words.eos_token_id), settings)
    optimizer = tiny.trained_step(model, [p for p in model.parameters() if p.requires_grad])
    place = tmp_path / "checkpoint-3"
    model.save_pretrained(str(place))
    words.save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        wanted = model.eval()(ids).logits
    model.unload().save_pretrained(  # type: ignore[operator]
        tmp_path / "base"
    )
    tiny.edit_json(place / "adapter_config.json", init_lora_weights=True)
    loaded = load_checkpoint(place, base_model=str(tmp_path / "base")).policy.model
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, wanted)


# peft says, when saving, that it adds the embeddings.
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize("saved", [None, ["embed_tokens", "lm_head"]], ids=["frozen", "trained"])
def test_a_vocabulary_enlarged_before_training(tmp_path: Path, saved: list[str] | None) -> None:
    """Refused with the base as it was, read with a base enlarged as the message advises."""
    words = tiny.tokenizer()
    base = tiny.qwen2(len(words), eos_token_id=words.eos_token_id, tie_word_embeddings=False)
    base.save_pretrained(tmp_path / "base")
    live = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    live.resize_token_embeddings(len(words) + 8)
    model = get_peft_model(live, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=saved))
    optimizer = tiny.trained_step(model, [p for p in model.parameters() if p.requires_grad])
    place = tmp_path / "checkpoint-3"
    model.save_pretrained(str(place))
    words.save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    refused(place, rf"lm_head.weight of shape \({len(words) + 8}, 32\), its base model .*resize_token_embeddings\(")
    base.resize_token_embeddings(len(words) + 8)
    base.save_pretrained(tmp_path / "larger")
    loaded = load_checkpoint(place, base_model=str(tmp_path / "larger")).policy.model
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)


def test_an_adapter_in_a_subfolder_is_not_loaded(copy: Path) -> None:
    """TRL may keep the reference policy there."""
    wanted = load_checkpoint(copy).policy.trainable
    shutil.copytree(copy / "model", copy / "model" / "ref")
    path = copy / "model" / "ref" / "adapter_model.safetensors"
    save_file({k: v + 1 for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    found = load_checkpoint(copy).policy
    assert all(torch.equal(found.trainable[name], p) for name, p in wanted.items())
    assert not any(".ref." in name for name, _ in found.model.named_parameters())


def test_a_live_second_adapter_is_not_saved_at_the_root(tmp_path: Path) -> None:
    """What peft writes for a model with a policy and a reference adapter: one at the root, one below."""
    words = tiny.tokenizer()
    base = tiny.qwen2(len(words), eos_token_id=words.eos_token_id)
    base.save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(base, settings)
    model.add_adapter("ref", settings)
    own = [p for name, p in model.named_parameters() if ".default." in name]
    optimizer = tiny.trained_step(model, own)
    model.save_pretrained(str(tmp_path / "checkpoint-3"))
    torch.save(optimizer.state_dict(), tmp_path / "checkpoint-3" / "optimizer.pt")
    assert (tmp_path / "checkpoint-3" / "ref" / "adapter_config.json").is_file()
    checkpoint = load_checkpoint(tmp_path / "checkpoint-3", base_model=str(tmp_path / "base"))
    assert len(checkpoint.optimizer) == len(own)
    live = {name: p for name, p in base.named_parameters() if ".default." in name}
    assert all(torch.equal(p, live[name]) for name, p in checkpoint.policy.trainable.items())


CONFIG: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, the weights hold 26 tensors"),
    "layers negative": ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
    "layers a string": ({"num_hidden_layers": "many"}, "num_hidden_layers is 'many'"),
    "one layer more": ({"num_hidden_layers": 3}, "failed|lack \\d+ tensors"),
    "hidden size": ({"hidden_size": 2**20}, "hidden_size 1048576 is far more than the largest tensor"),
    "vocabulary": ({"vocab_size": 2**33}, "vocab_size 8589934592 x hidden_size \\d+ is far more"),
    "feed-forward": ({"intermediate_size": 2**40}, "intermediate_size 1099511627776 x hidden_size"),
    "no vocabulary": ({"vocab_size": 0}, "vocab_size is 0, expected a positive whole number"),
    "no heads": ({"num_attention_heads": 0}, "num_attention_heads is 0, expected a positive whole number"),
    "heads a string": ({"num_key_value_heads": "two"}, "num_key_value_heads is 'two'"),
    "quantised": ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised .* --base-model"),
    "a kernel of a hub": ({"attn_implementation": "someone/kernel"}, "asks for 'someone/kernel', code from a hub"),
    "a kernel of a hub, by part": ({"_attn_implementation": {"": "a/b"}}, "asks for 'a/b', code from a hub"),
    "numbers that become none": ({"rms_norm_eps": float("nan")}, "the model's probabilities are not finite"),
    "no architecture": (
        {"model_type": "nothing-known", "architectures": ["X"]},
        "loading .* failed",
    ),
    "another architecture": ({"model_type": "gpt2"}, "failed|lack \\d+ tensors"),
}


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_weights_that_are_no_floating_point_numbers(full: Path, dtype: torch.dtype) -> None:
    """A mask beside them may be of any type."""
    file = full / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "model.layers.0.self_attn.bias": torch.ones(2, 2, dtype=torch.bool)}, file, {"format": "pt"})
    load_checkpoint(full)
    name = next(key for key in tensors if key.endswith("q_proj.weight"))
    try:
        save_file({**tensors, name: tensors[name].to(dtype)}, file, {"format": "pt"})
    except KeyError:
        pytest.skip(f"this safetensors cannot write {dtype}")
    with pytest.raises(UsageError, match="q_proj.weight.* is stored as .*, not as F32, F64, BF16, F16"):
        load_checkpoint(full)


@pytest.mark.parametrize("case", list(CONFIG))
def test_model_configuration(full: Path, case: str) -> None:
    changes, message = CONFIG[case]
    tiny.edit_json(full / "config.json", **changes)
    refused(full, message, early=case not in LATE)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([0, -1, 10**9], (0,)), ("0", "eos_token_id is '0'"), ([[0]], "eos_token_id is"), (-1, (0,))],
)
def test_end_tokens_that_are_none(
    full: Path, ids: list[int | list[int]] | str | int, expected: tuple[int] | str
) -> None:
    """A -1 for "no such token" is left out: it is nothing to pad with."""
    tiny.edit_json(full / "generation_config.json", eos_token_id=ids)
    if isinstance(expected, tuple):
        assert load_checkpoint(full).policy.eos_ids == expected
    else:
        refused(full, expected, early=False)


def test_no_end_token_within_the_vocabulary(full: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        tiny.edit_json(full / name, eos_token_id=10**6)
    tiny.edit_json(full / "tokenizer_config.json", eos_token=None)
    refused(full, r"names no end-of-sequence token among its \d+ \(only \[1000000\]\)", early=False)


@pytest.mark.parametrize("known", [True, False], ids=["known architecture", "unknown architecture"])
def test_code_beside_the_weights_is_not_run(full: Path, canary: Path, known: bool) -> None:
    (full / "modeling_x.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    (full / "tokenization_x.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    remote = {name: "modeling_x.Model" for name in ("AutoConfig", "AutoModelForCausalLM", "AutoModel")}
    tiny.edit_json(full / "config.json", auto_map=remote, **({} if known else {"model_type": "strange"}))
    if known:
        load_checkpoint(full)
    else:
        assert "trust_remote_code" not in refused(full, r"comes with code of its own \(auto_map\), which is never run")


def test_a_tokenizer_with_code_is_not_run(full: Path, canary: Path) -> None:
    (full / "tokenization_x.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    remote = {"AutoTokenizer": ["tokenization_x.Tokenizer", "tokenization_x.Tokenizer"]}
    tiny.edit_json(full / "tokenizer_config.json", auto_map=remote, tokenizer_class="Tokenizer")
    if Version(transformers.__version__) < Version("5"):
        refused(full, "no usable tokenizer .* contains custom code", early=False)
    else:
        # The file format is known without its class.
        assert load_checkpoint(full).policy.encode("Tom has 3 apples.")


TEMPLATES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ self.__init__.__globals__ }}",
    "{% include '/etc/hostname' %}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_chat_template_runs_in_a_sandbox(full: Path, canary: Path, template: str) -> None:
    tiny.edit_json(full / "tokenizer_config.json", chat_template=template.replace("CANARY", str(canary)))
    policy = load_checkpoint(full).policy
    assert policy.encode("Tom has 3 apples.")
    with pytest.raises(Exception, match="unsafe|undefined|not allowed|no loader|has no attribute") as raised:
        policy.encode([{"role": "user", "content": "Tom has 3 apples."}])
    assert type(raised.value).__module__.startswith(("jinja2", "pytest_entropy", "builtins"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_deep_and_huge_json(full: Path, name: str) -> None:
    path = full / name
    whole = path.read_text()
    path.write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    refused(full, f"{name} cannot be read as JSON: ")
    path.write_text("[]")
    refused(full, f"{name} holds list, expected an object")
    path.write_text("\ufeff" + whole)
    refused(full, f"{name} cannot be read as JSON: Unexpected UTF-8 BOM")
    path.write_text(whole[:-1] + ' , "more": "' + "x" * (33 * 2**20) + '"}')
    refused(full, f"{name} has 3\\d+ bytes; JSON over ")


@pytest.mark.parametrize("place", ["base", "step_3/model"])
def test_a_gigabyte_of_tokenizer(copy: Path, place: str) -> None:
    with (copy.parent / place / "tokenizer.json").open("wb") as stream:
        stream.truncate(2**30)
    refused(copy, "tokenizer.json has 1073741824 bytes; a tokenizer's file over .* is not read")


@pytest.mark.parametrize("name", ["base/generation_config.json", "step_3/model/extra.json"])
def test_pipes_among_the_files(copy: Path, name: str) -> None:
    place = copy.parent / name
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    refused(copy, f"{place.name} is a pipe or a device, not a file")


def test_directories_named_like_files(copy: Path) -> None:
    (copy / "model" / "notes.json").mkdir()
    assert load_checkpoint(copy).digest


def test_deep_json_in_an_adapter(copy: Path) -> None:
    (copy / "model" / "adapter_config.json").write_text("[" * 100_000)
    refused(copy, "adapter_config.json cannot be read as JSON")


# ---------------------------------------------------------------- where the base model is


def base_named(copy: Path, name: str | list[str]) -> None:
    tiny.edit_json(copy / "model" / "adapter_config.json", base_model_name_or_path=name)


def test_an_absolute_base_is_taken(copy: Path) -> None:
    """TRL writes absolute paths; a directory gives weights and JSON, never code."""
    base_named(copy, str(copy.parent / "base"))
    files = find_checkpoint(copy)
    assert (files.base, files.base_source) == (str(copy.parent / "base"), "as the adapter says")


def test_a_relative_base_may_climb_out_of_the_run_as_an_absolute_one_may(copy: Path, tmp_path: Path) -> None:
    """It could name the same directory by its absolute path; it is screened like any other."""
    shutil.move(copy.parent / "base", tmp_path / "elsewhere")
    base_named(copy, "../../../elsewhere")
    files = find_checkpoint(copy)
    assert (files.base, files.base_source) == (str(tmp_path / "elsewhere"), "relative to the checkpoint")
    assert load_checkpoint(copy).policy
    tiny.edit_json(tmp_path / "elsewhere" / "config.json", model_type="own", auto_map={"AutoConfig": "own.C"})
    refused(copy, "comes with code of its own .auto_map., which is never run")


def test_a_link_to_a_base_is_followed(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy.parent / "base", tmp_path / "elsewhere")
    (copy / "model" / "base").symlink_to(tmp_path / "elsewhere")
    base_named(copy, "base")
    assert find_checkpoint(copy).base == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["./base", "models/base", "base/", "models//base", "models/../base"])
def test_the_working_directory_has_the_base_that_peft_would_read(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    work = tmp_path / "work"
    (work / "models").mkdir(parents=True)
    shutil.move(copy.parent / "base", work / name)
    monkeypatch.chdir(work)
    base_named(copy, name)
    files = find_checkpoint(copy)
    assert files.base is not None
    assert Path(files.base).samefile(work / name)
    assert files.base_source == "relative to the working directory"
    assert load_checkpoint(copy).policy


def test_one_directory_by_two_ways_is_one_base(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    base_named(copy, "../base")
    assert find_checkpoint(copy).base_source == "relative to the checkpoint"


def test_a_base_in_the_home_directory(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    shutil.move(copy.parent / "base", tmp_path / "home" / "base")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    base_named(copy, "~/base")
    files = find_checkpoint(copy)
    assert (files.base, files.base_source) == (str(tmp_path / "home" / "base"), "as the adapter says")


def test_the_adapter_itself_is_not_its_base(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a step directory the adapter lies in model/, and so may the base be called where it was trained."""
    (tmp_path / "work").mkdir()
    shutil.move(copy.parent / "base", tmp_path / "work" / "model")
    monkeypatch.chdir(tmp_path / "work")
    base_named(copy, "model")
    assert find_checkpoint(copy).base == "model"
    shutil.rmtree(tmp_path / "work" / "model")
    with pytest.raises(UsageError, match="is an adapter itself"):
        find_checkpoint(copy)


def test_a_relative_base_is_looked_for_at_the_checkpoint_then_in_the_working_directory(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    shutil.copytree(copy.parent / "base", tmp_path / "base")
    work.mkdir()
    monkeypatch.chdir(work)
    base_named(copy, "../base")
    # From step_3/model it is step_3/base, from step_3 the run's base, from here the copy beside the run.
    files = find_checkpoint(copy)
    other = f"not the one at {tmp_path / 'base'} relative to the working directory"
    assert (files.base, files.base_source) == (str(copy.parent / "base"), f"relative to the checkpoint, {other}")
    shutil.rmtree(copy.parent / "base")
    files = find_checkpoint(copy)
    assert (files.base, files.base_source) == ("../base", "relative to the working directory")
    assert load_checkpoint(copy).policy
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(UsageError) as refused:
        find_checkpoint(copy)
    assert str(refused.value) == (
        f"base model '../base' of adapter {copy}/model was not found (looked at {copy}/base, {copy.parent}/base, "
        f"{tmp_path}/base and the local hub cache); give it with --base-model DIR"
    )


def test_a_base_that_is_an_adapter_is_refused(copy: Path) -> None:
    """transformers would follow its base_model_name_or_path wherever that leads."""
    shutil.copy(copy / "model" / "adapter_config.json", copy.parent / "base")
    refused(copy, "is an adapter itself")


NAMES: dict[str, str | list[str]] = {
    "null byte": "ba\0se",
    "very long": "x" * 100_000,
    "long part": "x" * 900,
    "home": "~root/model",
    "nobody's home": "~nobody-of-this-name/model",
    "a list": ["base"],
    "an address": "https://example.org/model",
    "a device": "/dev/zero",
    "empty": "",
}


@pytest.mark.parametrize("case", list(NAMES))
def test_strange_names_of_a_base(copy: Path, case: str) -> None:
    base_named(copy, NAMES[case])
    refused(copy, "base model|names no base")


def test_a_base_without_all_weights(copy: Path) -> None:
    path = copy.parent / "base" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.norm.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    refused(copy, "its weights lack 1 tensors that config.json asks for, for instance model.norm.weight", early=False)


def test_the_fixture_is_sound(full: Path) -> None:
    """What the tests above spoil loads when it is whole."""
    live = dict(AutoModelForCausalLM.from_pretrained(full).named_parameters())
    assert set(load_checkpoint(full).optimizer) == set(live)
    assert json.loads((full / "config.json").read_text())["num_hidden_layers"] == 2
