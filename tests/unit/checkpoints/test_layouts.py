"""Layouts: found by content, parameters by stored names or the layout's order, strangers refused with a command."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.from_universal import convert
from pytest_entropy.checkpoints.layouts import known_layouts
from pytest_entropy.checkpoints.load import Checkpoint
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.errors import UsageError
from tests import tiny
from tests.unit.checkpoints.read_again import expect_read_again

ROOT = Path(__file__).parents[3]


def save_full(place: Path, *, named: bool = False, hidden: int = 32) -> tuple[dict[str, Any], list[str]]:
    """A whole tiny model after three steps with all its parameters in one group; returns the optimizer's record."""
    words = tiny.tokenizer()
    model = tiny.qwen2(len(words), hidden=hidden, eos_token_id=words.eos_token_id)
    parameters = list(model.named_parameters())
    optimizer = tiny.trained_step(model, parameters if named else [p for _, p in parameters])
    model.save_pretrained(place)
    words.save_pretrained(place)
    record = optimizer.state_dict()
    torch.save(record, place / "optimizer.pt")
    return record, [name for name, _ in parameters]


def expect(
    checkpoint: Checkpoint,
    record: dict[str, Any],
    names: list[str],
    *,
    unread: tuple[str, ...] = (),
) -> None:
    """Every state is the one the live optimizer kept for that parameter."""
    assert set(checkpoint.optimizer) == set(names)
    expect_read_again(checkpoint, unread=unread)
    for index, name in enumerate(names):
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(getattr(checkpoint.optimizer[name], key), record["state"][index][key]), name


def rewrite(
    place: Path,
    record: dict[str, Any],
    names: list[str],
    *,
    order: list[int],
    keys: str,
) -> dict[str, Any]:
    """The same optimizer with its parameters in another order, keyed as told."""
    group = {k: v for k, v in record["param_groups"][0].items() if k not in ("params", "param_names")}
    by_keys: dict[str, list[Any]] = {
        "strings": [names[i] for i in order],
        "numbers": list(range(len(order))),
    }
    numbers = by_keys[keys]
    state = {number: record["state"][i] for number, i in zip(numbers, order, strict=True)}
    return {"state": state, "param_groups": [{**group, "params": numbers}]}


def test_names_in_the_groups(tmp_path: Path) -> None:
    record, names = save_full(tmp_path, named=True)
    checkpoint = load_checkpoint(tmp_path)
    expect(checkpoint, record, names)
    assert checkpoint.mapping.startswith("names in optimizer.pt; ")


@pytest.mark.parametrize("form", ["list", "object", "wrapped"])
def test_a_side_file_with_names_beats_the_order(tmp_path: Path, form: str) -> None:
    record, names = save_full(tmp_path)
    order = list(reversed(range(len(names))))
    torch.save(rewrite(tmp_path, record, names, order=order, keys="numbers"), tmp_path / "optimizer.pt")
    listed = [f"module.{names[i]}" for i in order]
    forms = {"list": listed, "object": dict(enumerate(listed)), "wrapped": {"param_names": listed}}
    (tmp_path / "optimizer_param_names.json").write_text(json.dumps(forms[form]))
    checkpoint = load_checkpoint(tmp_path)
    expect(checkpoint, record, names)
    assert checkpoint.mapping.startswith("names in optimizer_param_names.json; ")
    (tmp_path / "optimizer_param_names.json").write_text(json.dumps({"9" * 5000: "a"}))
    with pytest.raises(UsageError, match="expected a list of parameter names"):
        load_checkpoint(tmp_path)
    (tmp_path / "optimizer_param_names.json").write_text(json.dumps({"names": 3}))
    with pytest.raises(UsageError, match="expected a list of parameter names"):
        load_checkpoint(tmp_path)
    (tmp_path / "optimizer_param_names.json").write_text(json.dumps([*listed[:-1], "model.nowhere"]))
    with pytest.raises(UsageError, match=r"1 of 26 parameters are not in the model, for instance model.nowhere"):
        load_checkpoint(tmp_path)
    (tmp_path / "optimizer_param_names.json").write_text(json.dumps([*listed[:-1], listed[0]]))
    with pytest.raises(UsageError, match="numbered or named twice"):
        load_checkpoint(tmp_path)


def test_parameters_that_a_side_file_leaves_out_were_frozen(tmp_path: Path) -> None:
    """Two steps of a whole model with frozen embeddings, one optimizer step apart."""
    words = tiny.tokenizer()
    model = tiny.qwen2(len(words), hidden=32, eos_token_id=words.eos_token_id)
    model.model.embed_tokens.weight.requires_grad_(False)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = tiny.trained_step(model, [p for _, p in trained])
    for step in (3, 4):
        place = tmp_path / f"checkpoint-{step}"
        model.save_pretrained(place)
        words.save_pretrained(place)
        torch.save(optimizer.state_dict(), place / "optimizer.pt")
        ids = torch.randint(2, len(words), (4, 10))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    record = torch.load(place / "optimizer.pt", weights_only=True)
    with pytest.raises(UsageError, match=r"holds 25 parameters, the model has 26: if the others were frozen, write"):
        load_checkpoint(place)
    (place / "optimizer_param_names.json").write_text(json.dumps([name for name, _ in trained]))
    checkpoint = load_checkpoint(place)
    expect(checkpoint, record, [name for name, _ in trained])
    assert checkpoint.mapping.startswith("names in optimizer_param_names.json; the others were frozen; proved from ")
    assert set(checkpoint.policy.trainable) == {name for name, _ in trained}
    assert not checkpoint.policy.model.model.embed_tokens.weight.requires_grad
    (place / "optimizer_param_names.json").write_text(json.dumps([name for name, _ in trained][1:]))
    with pytest.raises(UsageError, match="holds 25 parameters, the model has 26"):
        load_checkpoint(place)


def test_fsdp_is_read_by_name(tmp_path: Path) -> None:
    record, names = save_full(tmp_path)
    order = [*range(1, len(names)), 0]
    torch.save(rewrite(tmp_path, record, names, order=order, keys="strings"), tmp_path / "optimizer.bin")
    (tmp_path / "optimizer.pt").unlink()
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.files.layout == "FSDP"
    expect(checkpoint, record, names)
    assert checkpoint.mapping.startswith("names in optimizer.bin; ")


def test_fsdp_names_of_wrapped_adapters(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint / "model", copy)
    tiny.edit_json(copy / "adapter_config.json", base_model_name_or_path=str(checkpoint.parent / "base"))
    wanted = load_checkpoint(checkpoint).optimizer
    wrapped = {
        "_fsdp_wrapped_module.base_model.model." + name.replace("layers.0.", "layers.0._fsdp_wrapped_module."): {
            "step": torch.tensor(float(state.step)),
            "exp_avg": state.exp_avg,
            "exp_avg_sq": state.exp_avg_sq,
        }
        for name, state in wanted.items()
    }
    settings = torch.optim.AdamW([torch.zeros(1)], lr=1e-3).state_dict()["param_groups"][0]
    group = {**settings, "params": list(wrapped)[::-1]}
    torch.save({"state": wrapped, "param_groups": [group]}, copy / "optimizer.bin")
    found = load_checkpoint(copy).optimizer
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name].exp_avg, wanted[name].exp_avg) for name in wanted)


@pytest.mark.parametrize("point", ["", "global_step3"])
def test_deepspeed_is_refused_with_its_conversion(tmp_path: Path, point: str) -> None:
    shards = tmp_path / "global_step3"
    shards.mkdir()
    (shards / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"not to be opened")
    (tmp_path / "latest").write_text("global_step3")
    with pytest.raises(UsageError) as raised:
        find_checkpoint(tmp_path / point)
    message = str(raised.value)
    assert f"ds_to_universal --inject_missing_state --input_folder {shards} --output_folder {tmp_path}/univ" in message
    assert re.search(r"from_universal \S+/universal \S+/optimizer.pt --step 3 --learning-rate LR", message)
    assert "zero_to_fp32.py" in message


@pytest.mark.parametrize("zero", [2, 3])
def test_deepspeed_universal_becomes_names(tmp_path: Path, zero: int) -> None:
    """Directories as ds_to_universal of DeepSpeed 0.19 writes them; ZeRO 3's are flat and count no steps."""
    record, names = save_full(tmp_path)
    (tmp_path / "optimizer.pt").unlink()
    for index, name in enumerate(names):
        place = tmp_path / "universal" / "zero" / name
        place.mkdir(parents=True)
        state = record["state"][index]
        for key in ("exp_avg", "exp_avg_sq"):
            torch.save({"param": state[key].flatten() if zero == 3 else state[key]}, place / f"{key}.pt")
        if zero == 2:
            torch.save(state["step"], place / "step.pt")
    settings: dict[str, Any] = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}
    out = tmp_path / "optimizer.pt"
    if zero == 3:
        with pytest.raises(UsageError, match="give --step N"):
            convert(tmp_path / "universal", out, **settings)
    assert convert(tmp_path / "universal", out, step=3, **settings) == len(names)
    checkpoint = load_checkpoint(tmp_path)
    expect(checkpoint, record, names)
    decays = {name for name, state in checkpoint.optimizer.items() if state.weight_decay == 0.1}
    assert decays == {name for name in names if not name.endswith("bias") and "norm" not in name}
    with pytest.raises(UsageError, match="holds no zero/NAME/exp_avg.pt"):
        convert(tmp_path / "elsewhere", out, **settings)


@pytest.mark.parametrize("point", ["actor", ""])
def test_verl_is_refused_with_the_remedy(tmp_path: Path, point: str) -> None:
    actor = tmp_path / "global_step_5" / "actor"
    actor.mkdir(parents=True)
    (actor / "optim_world_size_8_rank_0.pt").write_bytes(b"not to be opened")
    with pytest.raises(UsageError, match="python -m verl.model_merger merge --backend fsdp") as raised:
        find_checkpoint(actor.parent / point)
    assert "get_optimizer_state_dict" in str(raised.value)


@pytest.mark.slow
def test_torchao_is_refused_and_its_conversion_works(tmp_path: Path) -> None:
    if importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed")
    # It quantises from 4096 elements on.
    save_full(tmp_path, hidden=64)
    script = f"""
import torch
from torchao.optim import AdamW8bit
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({str(tmp_path)!r}, dtype=torch.float32)
optimizer = AdamW8bit(model.parameters(), lr=1e-3)
ids = torch.arange(2, 42).reshape(4, 10)
model(input_ids=ids, labels=ids).loss.backward()
optimizer.step()
torch.save(optimizer.state_dict(), {str(tmp_path / "optimizer.pt")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    with pytest.raises(UsageError, match="torchao's quantised state"):
        screen(find_checkpoint(tmp_path))
    with pytest.raises(UsageError, match="torchao's quantised state") as raised:
        load_checkpoint(tmp_path)
    command = str(raised.value).splitlines()[-1].strip()
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True, capture_output=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert set(load_checkpoint(tmp_path).optimizer) == {name for name, _ in model.named_parameters()}


def test_an_optimizer_of_another_model_is_refused(tmp_path: Path) -> None:
    record, _ = save_full(tmp_path)
    record["param_groups"][0]["params"].append(99)
    torch.save(record, tmp_path / "optimizer.pt")
    with pytest.raises(UsageError, match="numbers 27 parameters, the model has 26"):
        load_checkpoint(tmp_path)
    record["param_groups"][0]["params"] = record["param_groups"][0]["params"][:20]
    torch.save(record, tmp_path / "optimizer.pt")
    with pytest.raises(UsageError, match="holds 20 parameters, the model has 26: if the others were frozen"):
        load_checkpoint(tmp_path)
    record, _ = save_full(tmp_path)
    for index in range(6):
        del record["state"][index]
    torch.save(record, tmp_path / "optimizer.pt")
    with pytest.raises(UsageError, match="6 of 26 trainable parameters have no optimizer state"):
        load_checkpoint(tmp_path)


def group_by(
    place: Path,
    record: dict[str, Any],
    names: list[str],
    *splits: list[str],
) -> None:
    """The same optimizer with its parameters in several groups, numbered one after the other."""
    group = {k: v for k, v in record["param_groups"][0].items() if k != "params"}
    groups: list[dict[str, Any]] = []
    state: dict[int, Any] = {}
    for split in splits:
        numbers = range(len(state), len(state) + len(split))
        groups.append({**group, "params": list(numbers)})
        state |= {number: record["state"][names.index(name)] for number, name in zip(numbers, split, strict=True)}
    torch.save({"state": state, "param_groups": groups}, place / "optimizer.pt")


def test_groups_by_decay_old_and_new_and_unknown(tmp_path: Path) -> None:
    record, names = save_full(tmp_path)
    for words in (("bias", "norm"), ("bias",)):
        light = [name for name in names if any(word in name for word in words)]
        group_by(tmp_path, record, names, [name for name in names if name not in light], light)
        expect(load_checkpoint(tmp_path), record, names)
    group_by(tmp_path, record, names, names, [])
    expect(load_checkpoint(tmp_path), record, names)
    group_by(tmp_path, record, names, names[5:], names[:5])
    with pytest.raises(
        UsageError,
        match=r"groups of 21, 5 parameters, which no known trainer .* \(15, 11 .* or 20, 6, with .*no names",
    ):
        load_checkpoint(tmp_path)
    group_by(tmp_path, record, names, names[:4], names[4:8], names[8:])
    with pytest.raises(UsageError, match="groups of 4, 4, 18 parameters"):
        load_checkpoint(tmp_path)


def test_layouts_have_names_and_expectations_of_their_own() -> None:
    layouts = known_layouts()
    assert len({layout.name for layout in layouts}) == len(layouts) == 6
    assert all(layout.expects for layout in layouts)


def test_an_unknown_directory_lists_all_layouts(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").touch()
    with pytest.raises(UsageError, match=r"(?s)verl.*DeepSpeed.*DCP.*step directory.*FSDP.*HF Trainer.*weights.gguf"):
        find_checkpoint(tmp_path)
