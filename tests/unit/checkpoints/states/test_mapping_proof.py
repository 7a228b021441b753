"""The gradient-free proof of the optimizer's mapping: holds on real steps, fails on every misplaced state."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from pytest_entropy.checkpoints import MappingProof, demo, load_checkpoint, verify_optimizer_mapping
from pytest_entropy.checkpoints.load import Checkpoint
from pytest_entropy.checkpoints.states.mapping_proof import prove
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.state import ParameterState
from tests import tiny
from tests.present import present
from tests.unit.checkpoints.consecutive import save_two


@pytest.fixture(scope="module")
def the_demo() -> Checkpoint:
    return load_checkpoint("demo")


def check(checkpoint: Checkpoint, states: dict[str, ParameterState]) -> MappingProof:
    weights = checkpoint.files.weights
    earlier = weights.parent.parent / "step_29" / "model"
    return prove(earlier, weights, checkpoint.stored_names, states, names=("step_29", "step_30"))


def test_the_demo_is_proved_when_loaded(the_demo: Checkpoint) -> None:
    found = re.fullmatch(
        r"order of step directory checkpoints; proved from step_29, residual (\S+) \((\S+) of the step\)",
        the_demo.mapping,
    )
    assert found, the_demo.mapping
    # Weights of size 0.1 in float32 are known to 1e-8; the steps are a thousand times that.
    assert float(found[1]) < 3e-8
    assert float(found[2]) < 1e-4


def pairs(states: dict[str, ParameterState]) -> list[tuple[str, str]]:
    shapes = {name: state.exp_avg.shape for name, state in states.items()}
    return [(a, b) for a, b in itertools.combinations(states, 2) if shapes[a] == shapes[b]]


@pytest.mark.slow
def test_every_swap_of_the_demo_is_named(the_demo: Checkpoint) -> None:
    states = dict(the_demo.optimizer)
    assert len(pairs(states)) > 200
    for a, b in pairs(states):
        with pytest.raises(UsageError, match="permuted or of another model") as raised:
            check(the_demo, {**states, a: states[b], b: states[a]})
        message = str(raised.value)
        assert "2 of 42 parameters did not move from step_29 as their state says" in message
        assert re.search(rf"{re.escape(a)} \(relative residual \S+, its state is filed under {re.escape(b)}\)", message)
        assert re.search(rf"{re.escape(b)} \(relative residual \S+, its state is filed under {re.escape(a)}\)", message)


@pytest.mark.parametrize("moment", ["exp_avg", "exp_avg_sq"])
def test_one_misplaced_moment_is_enough(the_demo: Checkpoint, moment: str) -> None:
    states = dict(the_demo.optimizer)
    for a, b in pairs(states)[::10]:
        with pytest.raises(UsageError, match=re.escape(a)):
            check(the_demo, {**states, a: replace(states[a], **{moment: getattr(states[b], moment)})})


def test_a_permutation_of_everything_is_refused(the_demo: Checkpoint) -> None:
    states = dict(the_demo.optimizer)
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, state in states.items():
        by_shape.setdefault(tuple(state.exp_avg.shape), []).append(name)
    rotated = {name: states[names[(i + 1) % len(names)]] for names in by_shape.values() for i, name in enumerate(names)}
    with pytest.raises(UsageError, match=r"\d\d of 42 parameters .*; and \d\d more\."):
        check(the_demo, {name: rotated[name] for name in states})


@pytest.mark.parametrize("change", [{"step": 31}, {"betas": (0.8, 0.999)}, {"eps": 1e-3}, {"weight_decay": 0.5}])
def test_wrong_settings_are_refused(the_demo: Checkpoint, change: dict[str, Any]) -> None:
    """Of the other step's state or of another optimizer; only the rate is free."""
    name = next(iter(the_demo.optimizer))
    states = {**the_demo.optimizer, name: replace(the_demo.optimizer[name], **change)}
    if change == {"step": 31}:
        # Bias correction at step 31 is the same for all elements: one parameter's rate differs from the others'.
        assert the_demo.optimizer[name].step == 30
    with pytest.raises(UsageError, match=re.escape(name)):
        check(the_demo, states)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "first step, lora_B at 0": {"first": 1},
    "decay and clipping": {"weight_decay": 0.1, "clip": 0.05},
    "schedule that ends at 0": {"schedule": lambda step: 1 - step / 4},
    "warm-up": {"schedule": lambda step: step / 10},
    "a rate per group (LoRA+), ended": {
        "groups": lambda model: [
            {"params": [p for n, p in model.named_parameters() if "lora_A" in n]},
            {"params": [p for n, p in model.named_parameters() if "lora_B" in n], "lr": 1.6e-2},
        ],
        "schedule": lambda step: 1 - step / 4,
        # Two groups number A before B: plain order would not hold.
        "named": True,
    },
    "dora": {"adapter": {"use_dora": True}},
    "modules to save": {"adapter": {"modules_to_save": ["norm"]}},
}


@pytest.mark.parametrize("case", list(CASES))
def test_real_steps_are_proved_and_swaps_refused(case: str, tmp_path: Path) -> None:
    options = dict(CASES[case])
    if options.pop("named", False):
        plain = options["groups"]

        def named(model: PeftModel) -> list[dict[str, list[tuple[str, torch.nn.Parameter]] | float]]:
            names = {id(p): name for name, p in model.named_parameters()}
            return [{**g, "params": [(names[id(p)], p) for p in g["params"]]} for g in plain(model)]

        options["groups"] = named
    before, after = save_two(tmp_path, **options)
    proof = verify_optimizer_mapping(before, after)
    assert proof.proved
    assert not proof.unresolved
    assert max(proof.absolute.values()) < 2e-7
    assert max(proof.relative.values()) < 1e-3
    assert str(proof) in load_checkpoint(after).mapping
    swap_two(after / "optimizer.pt")
    with pytest.raises(UsageError, match="2 of .* parameters did not move"):
        load_checkpoint(after)
    shutil.rmtree(before)
    assert "not proved: there is no step_" in load_checkpoint(after).mapping


def swap_two(path: Path) -> None:
    """Exchange two states of equal shape."""
    record = torch.load(path, weights_only=True)
    state = record["state"]
    a, b = next(
        (a, b) for a, b in itertools.combinations(state, 2) if state[a]["exp_avg"].shape == state[b]["exp_avg"].shape
    )
    state[a], state[b] = state[b], state[a]
    torch.save(record, path)


def test_the_fitted_rate_is_the_one_of_the_step_taken(tmp_path: Path) -> None:
    before, after = save_two(tmp_path, schedule=lambda step: 1 - step / 4)
    proof = verify_optimizer_mapping(before, after)
    assert dict(present(proof.rates)) == pytest.approx({0: 1e-3 * 0.25}, rel=1e-4)


def test_rates_per_group_survive_the_end_of_the_schedule(tmp_path: Path) -> None:
    _, after = save_two(
        tmp_path,
        groups=lambda model: [
            {"params": [(n, p) for n, p in model.named_parameters() if "lora_A" in n]},
            {"params": [(n, p) for n, p in model.named_parameters() if "lora_B" in n], "lr": 1.6e-2},
        ],
        schedule=lambda step: 1 - step / 4,
    )
    checkpoint = load_checkpoint(after)
    for name, state in checkpoint.optimizer.items():
        assert state.lr == (1e-3 if "lora_A" in name else 1.6e-2)
    assert checkpoint.learning_rate == 1.6e-2
    assert checkpoint.learning_rate_source == "optimizer.pt (initial_lr; the schedule has ended at 0)"


def test_a_rate_of_zero_proves_nothing(tmp_path: Path) -> None:
    _, after = save_two(tmp_path, first=1, schedule=lambda step: float(step == 0))
    mapping = load_checkpoint(after).mapping
    assert "not proved: since step_1 no parameter moved by more than the rounding" in mapping


def test_bfloat16_weights_prove_nothing(tmp_path: Path) -> None:
    _, after = save_two(tmp_path, dtype=torch.bfloat16, lr=1e-5)
    assert "not proved: weights are saved as BF16, whose rounding" in load_checkpoint(after).mapping


def test_directories_that_do_not_count_steps(tmp_path: Path) -> None:
    before, after = save_two(tmp_path)
    before.rename(tmp_path / "save_0")
    after = after.rename(tmp_path / "save_1")
    # The neighbour's own optimizer says that it is one step before.
    assert "proved from save_0" in load_checkpoint(after).mapping
    shutil.copy(after / "optimizer.pt", tmp_path / "save_0" / "optimizer.pt")
    assert "not proved: save_0 is at optimizer step 4, this one at 4" in load_checkpoint(after).mapping
    (tmp_path / "save_0" / "optimizer.pt").unlink()
    assert "not proved: save_0 does not say which optimizer step it is" in load_checkpoint(after).mapping


def test_links_as_in_a_hub_cache_are_followed(tmp_path: Path) -> None:
    """Files may be links into a store of blobs, and directories links to elsewhere."""
    before, after = save_two(tmp_path)
    (tmp_path / "store").mkdir()
    (after / "optimizer.pt").rename(tmp_path / "store" / "blob")
    (after / "optimizer.pt").symlink_to(tmp_path / "store" / "blob")
    (before / "model").rename(tmp_path / "store" / "weights")
    (before / "model").symlink_to(tmp_path / "store" / "weights")
    assert "proved from step_3" in load_checkpoint(after).mapping
    before.rename(tmp_path / "save_0")
    assert "proved from save_0" in load_checkpoint(after.rename(tmp_path / "save_1")).mapping
    (tmp_path / "latest").symlink_to(tmp_path / "save_1")
    assert "proved from save_0" in load_checkpoint(tmp_path / "latest").mapping
    assert "proved from save_0" in load_checkpoint(tmp_path / "latest" / "model").mapping


def test_a_neighbour_of_another_model_is_not_compared(tmp_path: Path) -> None:
    before, after = save_two(tmp_path / "a")
    other, _ = save_two(tmp_path / "b", adapter={"r": 2})
    shutil.rmtree(before)
    shutil.copytree(other, before)
    assert re.search(r"not proved: .* has shape \(2, 32\) in step_3", load_checkpoint(after).mapping)
    (before / "model" / "adapter_config.json").unlink()
    assert "not proved: checkpoint" in load_checkpoint(after).mapping
    with pytest.raises(UsageError, match="does not hold an adapter as"):
        verify_optimizer_mapping(before, after)


def test_a_damaged_neighbour_proves_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    before, after = save_two(tmp_path)
    path = before / "model" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert re.search(r"not proved: weights .* cannot be read", load_checkpoint(after).mapping)
    with pytest.raises(UsageError, match="cannot be read"):
        verify_optimizer_mapping(before, after)


def test_the_demo_with_swapped_states_is_refused_at_load(tmp_path: Path) -> None:
    copy = tmp_path / "artefact"
    shutil.copytree(demo.PATH, copy)
    swap_two(copy / "step_30" / "optimizer.pt")
    with pytest.raises(UsageError, match="permuted or of another model"):
        load_checkpoint(copy / "step_30")


def test_a_neighbour_is_read_without_a_second_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Qwen2ForCausalLM

    _, after = save_two(tmp_path)
    loaded = []
    original = Qwen2ForCausalLM.from_pretrained

    def watched(*arguments: Any, **named: Any) -> Any:
        loaded.append(arguments)
        return original(*arguments, **named)

    monkeypatch.setattr(Qwen2ForCausalLM, "from_pretrained", watched)
    assert "proved from step_3" in load_checkpoint(after).mapping
    # One that is used, and one that the second reading compares it with.
    assert len(loaded) == 2


def test_tiny_is_what_the_unit_tests_load(checkpoint: Path) -> None:
    """The shared fixture has no neighbour: the mapping says so and nothing fails."""
    assert load_checkpoint(checkpoint).mapping.endswith("not proved: there is no step_2 beside step_3")
    assert tiny.tokenizer().eos_token == "<eos>"


def kin(direction: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]) -> type[torch.optim.AdamW]:
    """An optimizer with AdamW's settings and state, key by key, whose step takes another direction.

    Args:
        direction: from AdamW's direction, the gradient and the parameter.
    """

    class Kin(torch.optim.AdamW):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            before = {p: p.detach().clone() for group in self.param_groups for p in group["params"]}
            super().step(closure)
            for p, old in before.items():
                with torch.no_grad():
                    p.copy_(old + direction(p - old, p.grad, old))

    return Kin


KIN = {
    "cautious": kin(lambda u, grad, p: u * (u * grad < 0)),
    "Grams": kin(lambda u, grad, p: -u.abs() * grad.sign()),
    "LAMB": kin(lambda u, grad, p: u * p.norm().clamp(1e-3) / u.norm()),
    "noise": kin(lambda u, grad, p: u + 0.3 * u.norm() / u.numel() ** 0.5 * torch.randn_like(u)),
}


@pytest.mark.parametrize("case", list(KIN))
def test_another_optimizers_step_with_adamws_very_keys_is_contradicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", KIN[case])
        _, after = save_two(tmp_path)
    with pytest.raises(UsageError, match="another optimizer than AdamW may have taken that step"):
        load_checkpoint(after)
