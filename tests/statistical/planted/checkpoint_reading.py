"""Faults of what is read from a checkpoint's files, and then compared with itself.

They are planted on a copy of the demo without the checkpoint one step before, as users have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pytest_entropy.checkpoints import load as load_module
from pytest_entropy.checkpoints.demo import PATH
from pytest_entropy.checkpoints.states import optimizer_file
from pytest_entropy.probe import setup
from pytest_entropy.settings.probe import ProbeConfig
from tests.statistical.planted.planted_fault import Plant, PlantedFault, after, wrap

KIND = "checkpoint_reading"
ADAMW = {"update_rule": "adamw"}
MOMENT_WORDS = ("second moment", "exp_avg_sq", "moments")
# Of the demo: the adapter's tensors that the plants of one tensor pick.
DOWN = "model.layers.2.mlp.down_proj"
QUERY, KEY = (f"model.layers.0.self_attn.{one}_proj.lora_A.default.weight" for one in "qk")


# ---------------------------------------------------------------------- the optimizer's file


def _group_setting(**settings: object) -> Plant:
    """The settings of every parameter group are read as these."""

    def change(record: Any) -> Any:
        for group in record["param_groups"]:
            group.update(settings)
        return record

    return lambda patch: after(patch, optimizer_file, "read_torch_file", change)


def _moments(change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Plant:
    """The stored entry of every parameter is read as ``change`` of its name and itself."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def changed(real: Callable[..., Any]) -> Callable[..., Any]:
            return lambda path, name, entry, group, parameter: real(
                path, name, change(name, dict(entry)), group, parameter
            )

        wrap(patch, optimizer_file, "_entry", changed)

    return plant


def rate_of_the_next_schedule(patch: pytest.MonkeyPatch) -> None:
    """The learning rate of a schedule's step that is one too far: 3 % lower."""
    after(patch, optimizer_file, "_rates", lambda found: ([rate * 29 / 30 for rate in found[0]], found[1]))


def rate_of_an_unscaled_run(patch: pytest.MonkeyPatch) -> None:
    """The learning rate without the factor by which the run scaled it."""
    after(patch, optimizer_file, "_rates", lambda found: ([rate / 2 for rate in found[0]], found[1]))


def betas_swapped(patch: pytest.MonkeyPatch) -> None:
    def change(record: Any) -> Any:
        for group in record["param_groups"]:
            group["betas"] = tuple(reversed(group["betas"]))
        return record

    after(patch, optimizer_file, "read_torch_file", change)


def _steps(change: Callable[[int], int]) -> Plant:
    return _moments(lambda name, entry: entry | {"step": torch.tensor(float(change(int(entry["step"]))))})


def half_precision(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The second moment through float16, in which small ones are 0."""
    return entry | {"exp_avg_sq": entry["exp_avg_sq"].half().float()}


def one_scaled(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The second moments of one tensor four times as large."""
    return entry | ({"exp_avg_sq": entry["exp_avg_sq"] * 4} if name == f"{DOWN}.lora_B.default.weight" else {})


def last_elements(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The last quarter of one tensor's second moments is a copy of the first."""
    v = entry["exp_avg_sq"]
    if name != f"{DOWN}.lora_A.default.weight":
        return entry
    flat, quarter = v.flatten().clone(), v.numel() // 4
    flat[-quarter:] = flat[:quarter]
    return entry | {"exp_avg_sq": flat.reshape(v.shape)}


def root_stored(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The largest of the past second moments in place of the present one (amsgrad): half as large again."""
    return entry | {"exp_avg_sq": entry["exp_avg_sq"] * 1.5}


def momentum_lost(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"exp_avg": torch.zeros_like(entry["exp_avg"])}


def momentum_with_other_sign(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The gradient's sign taken the other way round (``maximize``)."""
    return entry | {"exp_avg": -entry["exp_avg"]}


def momentum_of_one_tensor_lost(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    return entry | ({"exp_avg": torch.zeros_like(entry["exp_avg"])} if "layers.1.mlp.up_proj.lora_B" in name else {})


def two_tensors_swapped(patch: pytest.MonkeyPatch) -> None:
    """The states of the first layer's query and key, whose shapes are equal, change places."""

    def swapped(found: optimizer_file.Mapped) -> optimizer_file.Mapped:
        found.states[QUERY], found.states[KEY] = found.states[KEY], found.states[QUERY]
        return found

    after(patch, load_module, "read_optimizer", swapped)


def layers_in_another_order(patch: pytest.MonkeyPatch) -> None:
    """The states of the layers in the opposite order, as if numbered from the output."""

    def reversed_(found: optimizer_file.Mapped) -> optimizer_file.Mapped:
        names = {
            name: name.replace("layers.0.", "layers.x.").replace("layers.2.", "layers.0.") for name in found.states
        }
        states = {name: found.states[other.replace("layers.x.", "layers.2.")] for name, other in names.items()}
        found.states = states
        return found

    after(patch, load_module, "read_optimizer", reversed_)


# ---------------------------------------------------------------------- two parameter groups


def two_groups(directory: Path) -> None:
    """A copy whose optimizer has two groups, as for LoRA+: B at four times the rate of A, without weight decay."""
    file = directory / "step_30" / "optimizer.pt"
    record = torch.load(file, weights_only=True)
    keys = sorted(record["state"])
    listed = trainable_names()
    assert len(keys) == len(listed)
    group = record["param_groups"][0]
    order = [key for n, key in enumerate(keys) if n % 2 == 0], [key for n, key in enumerate(keys) if n % 2 == 1]
    # The state's integers count A and B in turn.
    record["state"] = {n: record["state"][key] for n, key in enumerate(order[0] + order[1])}
    split = listed[0::2], listed[1::2]
    settings = ({"lr": 2e-4, "weight_decay": 0.1}, {"lr": 8e-4, "weight_decay": 0.0})
    record["param_groups"] = [
        {**group, **own, "params": [n + shift for n in range(len(some))], "param_names": some}
        for own, some, shift in zip(settings, split, (0, len(split[0])), strict=True)
    ]
    torch.save(record, file)


def trainable_names() -> list[str]:
    """The demo's adapter tensors in the order in which the model holds them."""
    modules = [f"self_attn.{one}_proj" for one in "qkvo"] + [f"mlp.{one}_proj" for one in ("gate", "up", "down")]
    return [
        f"model.layers.{layer}.{module}.lora_{part}.default.weight"
        for layer in range(3)
        for module in modules
        for part in "AB"
    ]


def rates_of_groups_mixed_up(patch: pytest.MonkeyPatch) -> None:
    after(patch, optimizer_file, "_rates", lambda found: (found[0][::-1], found[1]))


def settings_of_the_first_group(patch: pytest.MonkeyPatch) -> None:
    """The first group's settings for all: the second's exemption from weight decay is lost, and its rate."""

    def change(record: Any) -> Any:
        for group in record["param_groups"][1:]:
            group.update(weight_decay=record["param_groups"][0]["weight_decay"])
        return record

    after(patch, optimizer_file, "read_torch_file", change)


# ---------------------------------------------------------------------- the model and its adapter


def _model(change: Callable[[Any], None]) -> Plant:
    """``change`` the model that was read, before anything else sees it."""

    def changed(found: tuple[Any, Any]) -> tuple[Any, Any]:
        with torch.no_grad():
            change(found[0])
        return found

    return lambda patch: after(patch, load_module, "_model", changed)


def _scaled(module: str, factor: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for name, one in model.named_modules():
            if isinstance(getattr(one, "scaling", None), dict) and name.endswith(module):
                one.scaling["default"] *= factor

    return change


def module_pattern(directory: Path) -> None:
    """A copy whose adapter has an alpha of its own for one module."""
    file = directory / "step_30" / "model" / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "alpha_pattern": {"layers.1.mlp.down_proj": 64}}))


def tensor_of_the_previous_step(model: Any) -> None:
    """One tensor is left over from the checkpoint before."""
    stored = load_file(PATH / "step_29" / "model" / "adapter_model.safetensors")
    key = next(key for key in stored if f"{DOWN}.lora_B" in key)
    model.get_parameter(f"{DOWN}.lora_B.default.weight").copy_(stored[key])


def adapter_of_the_previous_step(model: Any) -> None:
    """All tensors are left over from the checkpoint before."""
    for key, value in load_file(PATH / "step_29" / "model" / "adapter_model.safetensors").items():
        name = key.removeprefix("base_model.model.").replace(".weight", ".default.weight")
        model.get_parameter(name).copy_(value)


def tensor_zero(model: Any) -> None:
    model.get_parameter("model.layers.1.self_attn.v_proj.lora_B.default.weight").zero_()


def tensor_transposed(model: Any) -> None:
    """Stored the other way round, and read by shape alone."""
    one = model.get_parameter(f"{DOWN}.lora_A.default.weight")
    one.copy_(one.t().reshape(one.shape).clone())


def base_in_bfloat16(model: Any) -> None:
    """The base's weights went through bfloat16."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.copy_(parameter.bfloat16().float())


def rotary_base_of_the_library(model: Any) -> None:
    """The base of the rotary positions is the library's new default, because its key in the file was renamed."""
    buffer = model.model.rotary_emb.inv_freq
    exponents = torch.arange(0, 2 * len(buffer), 2, dtype=torch.float32) / (2 * len(buffer))
    buffer.copy_(1 / 1e6**exponents)


def norm_epsilon_of_the_library(model: Any) -> None:
    """The normalisations' epsilon is a hundred times the configured one."""
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = 1e-2


def untied_head(patch: pytest.MonkeyPatch) -> None:
    """The output layer is a copy of the embedding of its own, in 8 bits."""

    def changed(found: Any) -> Any:
        model = found.model
        head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
        with torch.no_grad():
            head.weight.copy_(model.lm_head.weight.to(torch.float8_e4m3fn).float())
        head.weight.requires_grad_(False)
        model.lm_head = head
        return found

    after(patch, load_module, "_load", changed)


# ---------------------------------------------------------------------- how responses end


def another_end_token(patch: pytest.MonkeyPatch) -> None:
    """A frequent token of the tokenizer's is taken for an end token too."""
    wrap(
        patch, load_module, "end_tokens",
        lambda real: lambda model, tokenizer: tuple(
            sorted({*real(model, tokenizer), tokenizer("=", add_special_tokens=False)["input_ids"][-1]})
        ),
    )  # fmt: skip


def two_end_tokens(directory: Path) -> None:
    """A copy whose generation config names a second end token, as chat models' do."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(str(directory / "base"))
    file = directory / "base" / "generation_config.json"
    second = words("=", add_special_tokens=False)["input_ids"][-1]
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": [0, second]}))


def end_token_of_the_tokenizer_alone(patch: pytest.MonkeyPatch) -> None:
    """The second end token, which only the generation config names, is lost."""
    after(patch, load_module, "end_tokens", lambda found: found[:1])


def half_the_length(patch: pytest.MonkeyPatch) -> None:
    """The sampler stops at half the configured number of new tokens, a default of its own."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def draw(policy: Any, prompts: Any, seed: int, config: ProbeConfig, **named: Any) -> Any:
            short = config.model_copy(update={"max_new_tokens": config.max_new_tokens // 2})
            return real(policy, prompts, seed, short, **named)

        return draw

    wrap(patch, setup, "draw_responses", changed)


def stored_temperature(patch: pytest.MonkeyPatch) -> None:
    """Logits are divided by the generation config's temperature inside the model, which no one else knows of."""

    def changed(found: tuple[Any, Any]) -> tuple[Any, Any]:
        model = found[0]
        model.lm_head.register_forward_hook(lambda module, inputs, output: output / model.generation_config.temperature)
        return found

    after(patch, load_module, "_model", changed)


def learning_rate_of_zero_decay(patch: pytest.MonkeyPatch) -> None:
    """The state is that of a step ago: its count alone was carried on."""

    def older(found: optimizer_file.Mapped) -> optimizer_file.Mapped:
        before = torch.load(PATH / "step_29" / "optimizer.pt", weights_only=True)["state"]
        for key, (name, state) in zip(sorted(before), list(found.states.items()), strict=True):
            entry = before[key]
            found.states[name] = replace(state, exp_avg=entry["exp_avg"], exp_avg_sq=entry["exp_avg_sq"])
        return found

    after(patch, load_module, "read_optimizer", older)


def _fault(name: str, plant: Plant, *causes: str, **more: Any) -> PlantedFault:
    return PlantedFault(name, KIND, plant, causes, **more)


LAYER = ("scaling", "alpha", "adapter", "lora")
NORMS = ("norm", "epsilon", "eps", "base model", "config")
FAULTS = [
    _fault("learning rate one step ahead", rate_of_the_next_schedule, "learning rate"),
    _fault("learning rate halved", rate_of_an_unscaled_run, "learning rate"),
    _fault("beta2 0.95", _group_setting(betas=(0.9, 0.95)), "beta"),
    _fault("beta1 0.5", _group_setting(betas=(0.5, 0.999)), "beta", settings=ADAMW),
    _fault("betas swapped", betas_swapped, "beta", settings=ADAMW),
    _fault("eps 1e-5", _group_setting(eps=1e-5), "eps"),
    _fault("step count of the step before", _steps(lambda n: n - 1), "step count", "steps taken", "number of steps"),
    _fault("step count in microbatches", _steps(lambda n: 8 * n), "step count", "steps taken", "number of steps"),
    _fault("second moments through float16", _moments(half_precision), "half precision", *MOMENT_WORDS),
    _fault("second moments of amsgrad", _moments(root_stored), *MOMENT_WORDS),
    _fault("second moments of one tensor x 4", _moments(one_scaled), *MOMENT_WORDS, "down_proj"),
    _fault("last elements of one second moment", _moments(last_elements), *MOMENT_WORDS, "down_proj"),
    _fault("first moments lost", _moments(momentum_lost), "first moment", "momentum", "exp_avg", settings=ADAMW),
    _fault(
        "first moments of one tensor lost", _moments(momentum_of_one_tensor_lost),
        "first moment", "momentum", "exp_avg", "up_proj", settings=ADAMW,
    ),
    _fault(
        "sign of the first moments", _moments(momentum_with_other_sign),
        "first moment", "momentum", "exp_avg", "maximize", settings=ADAMW,
    ),
    _fault("states of two tensors swapped", two_tensors_swapped, "mapping", "another parameter", "q_proj", "moment"),
    _fault("states of layers reversed", layers_in_another_order, "mapping", "another parameter", "layers", "moment"),
    _fault(
        "moments of the step before", learning_rate_of_zero_decay, *MOMENT_WORDS, "first moment", "previous step",
        settings=ADAMW,
    ),
    _fault("weight decay 0.1", _group_setting(weight_decay=0.1), "weight decay", "weight_decay", settings=ADAMW),
    _fault(
        "weight decay of exempt parameters", settings_of_the_first_group, "weight decay", "weight_decay", "group",
        settings=ADAMW, prepare=two_groups,
    ),
    _fault("rates of two groups mixed up", rates_of_groups_mixed_up, "group", "learning rate", prepare=two_groups),
    _fault("LoRA scaling alpha over r ignored", _model(_scaled("", 0.5)), *LAYER),
    _fault("LoRA scaling taken for rsLoRA", _model(_scaled("", 8**0.5)), *LAYER, "rslora"),
    _fault(
        "alpha of one module ignored", _model(_scaled("layers.1.mlp.down_proj", 0.25)), *LAYER, "pattern",
        prepare=module_pattern,
    ),
    _fault("adapter not applied to one module", _model(_scaled(DOWN, 0.0)), *LAYER, "down_proj"),
    _fault("adapter tensor zero", _model(tensor_zero), "adapter", "lora", "v_proj", "weights"),
    _fault("adapter tensor transposed", _model(tensor_transposed), "adapter", "lora", "down_proj", "weights"),
    _fault("adapter tensor of the step before", _model(tensor_of_the_previous_step), "adapter", "lora", "down_proj"),
    _fault("adapter of the step before", _model(adapter_of_the_previous_step), "adapter", "lora", "weights"),
    _fault("base through bfloat16", _model(base_in_bfloat16), "base", "bfloat16", "weights", "dtype", "precision"),
    _fault("rotary base of the library", _model(rotary_base_of_the_library), "rotary", "rope", "position", "config"),
    _fault("epsilon of the norms", _model(norm_epsilon_of_the_library), *NORMS),
    _fault("head untied", untied_head, "tied", "head", "output layer", "embedding", "weights"),
    _fault("end token added", another_end_token, "end token", "end-of-sequence", "eos", "end ids"),
    _fault(
        "end token lost", end_token_of_the_tokenizer_alone, "end token", "end-of-sequence", "eos", "end ids",
        prepare=two_end_tokens,
    ),
    _fault("half of max_new_tokens", half_the_length, "max_new_tokens", "length limit", "stop short"),
    _fault("stored temperature inside the model", stored_temperature, "temperature"),
]  # fmt: skip
