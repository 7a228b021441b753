"""Which parameters text reaches: towers beside it do not count, experts that no token was routed to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_entropy.checkpoints import load_checkpoint
from pytest_entropy.checkpoints.states.unreached import unreached, without_state
from pytest_entropy.errors import UsageError
from tests import tiny
from tests.architectures import COMPOSITE
from tests.integration.test_architectures import save


@pytest.mark.parametrize("architecture", ["Gemma3", "Qwen2_5_VL", "Llava", "Qwen2Audio"])
def test_text_reaches_the_language_model_alone(architecture: str) -> None:
    model = COMPOSITE[architecture](40)
    names = [name for name, _ in model.named_parameters()]
    beside = {n for n in names if any(part in n for part in ("vision", "visual", "audio", "projector"))}
    assert beside
    assert unreached(model, names) == beside


def test_a_layer_of_its_own_is_reached_to_the_last_weight() -> None:
    model = tiny.qwen2()
    names = [name for name, _ in model.named_parameters()]
    assert unreached(model, names) == frozenset()
    assert all(p.grad is None for p in model.parameters())


def test_an_expert_like_others_with_a_state_may_be_reached_later() -> None:
    model = tiny.qwen2()
    model.model.layers[0].spare = torch.nn.ModuleList(torch.nn.Linear(2, 2, bias=False) for _ in range(2))
    names = ["model.layers.0.spare.0.weight", "model.layers.0.spare.1.weight"]
    assert without_state(model, names, []) == set(names)
    assert without_state(model, names[1:], names[:1]) == frozenset()


def test_a_state_of_a_parameter_that_text_reaches_may_not_be_missing(tmp_path: Path) -> None:
    saved = save(tmp_path, "Gemma3", "full")
    file = saved.place / "optimizer.pt"
    record = torch.load(file, weights_only=True)
    # The first entry is the vision tower's or the embedding's; the last one with a state is the final norm's.
    del record["state"][max(record["state"])]
    torch.save(record, file)
    with pytest.raises(UsageError, match="1 of .* trainable parameters have no optimizer state"):
        load_checkpoint(saved.place)


def test_states_beside_the_text_do_not_move(tmp_path: Path) -> None:
    """A vision tower trained with images has states; a text's gradient does not reach it, and torch leaves it alone."""
    saved = save(tmp_path, "Gemma3", "full")
    file = saved.place / "optimizer.pt"
    record = torch.load(file, weights_only=True)
    checkpoint = load_checkpoint(saved.place)
    model = checkpoint.policy.model
    for number, (_, parameter) in enumerate(model.named_parameters()):
        if number not in record["state"]:
            moments = {key: torch.ones_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            record["state"][number] = {"step": torch.tensor(3.0), **moments}
    torch.save(record, file)
    again = load_checkpoint(saved.place)
    assert set(again.optimizer) == set(checkpoint.optimizer) == set(again.policy.trainable)
    assert not any("vision" in name for name in again.optimizer)
    reading = again.read_again(again.policy, again.optimizer)
    assert reading.moments == reading.optimizer_scalars == reading.weights == 0.0


def test_a_text_models_adapter_is_read_on_its_multimodal_base(tmp_path: Path) -> None:
    """Trained on the language model alone, whose names lack a part; peft adapts the vision tower, too."""
    targets = r".*language_model.*\.(q_proj|v_proj)"
    whole = save(tmp_path / "whole", "Gemma3", "lora", targets=targets)
    text = save(tmp_path / "text", "Gemma3", "lora", targets=targets)
    file = text.place / "adapter_model.safetensors"
    save_file({key.replace("language_model.", ""): tensor for key, tensor in load_file(file).items()}, file)
    tiny.edit_json(text.place / "adapter_config.json", target_modules=["q_proj", "v_proj"])
    expected, found = load_checkpoint(whole.place), load_checkpoint(text.place)
    assert "read under other names" not in expected.mapping
    assert "8 of 8 tensors of checkpoint-3 are read under other names" in found.mapping
    assert set(found.policy.trainable) == set(expected.policy.trainable)
    for name, parameter in expected.policy.trainable.items():
        assert torch.equal(parameter, found.policy.trainable[name]), name
        assert torch.equal(expected.optimizer[name].exp_avg, found.optimizer[name].exp_avg), name
    reading = found.read_again(found.policy, found.optimizer)
    assert reading.weights == reading.moments == reading.adapter_scaling == 0.0
