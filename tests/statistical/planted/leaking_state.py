"""State that leaks between runs: the first run is right, or nearly so, and the second is measured on what it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from pytest_entropy.policy import sampling, teacher_forcing
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe import batches, control_variate
from pytest_entropy.probe.diagnostics import importance_sampling
from pytest_entropy.probe.measure.two_batch import TwoBatch
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update import source
from tests.statistical.planted.planted_fault import Plant, PlantedFault, wrap

KIND = "leaking_state"
TWO: dict[str, Any] = {"runs": 2}


def _once_after_a_run(leak: Callable[[Policy], None]) -> Plant:
    """``leak`` into the policy when the first run has been measured."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        done: list[bool] = []

        def changed(real: Callable[..., Any]) -> Callable[..., Any]:
            def measure(self: TwoBatch, *arguments: Any, **options: Any) -> Any:
                found = real(self, *arguments, **options)
                if not done:
                    done.append(True)
                    with torch.no_grad():
                        leak(self.setup.policy)
                return found

            return measure

        wrap(patch, TwoBatch, "measure", changed)

    return plant


# ---------------------------------------------------------------------- weights


def _moved(restore: Callable[[torch.nn.Parameter, torch.Tensor, str, float], None]) -> Plant:
    """A finite step whose weights are restored by ``restore``."""

    @contextmanager
    def moved(policy: Policy, direction: Mapping[str, torch.Tensor], step: float) -> Iterator[None]:
        before = {name: policy.trainable[name].detach().clone() for name in direction}
        with torch.no_grad():
            for name, u in direction.items():
                policy.trainable[name].add_((step * u).to(policy.trainable[name].dtype))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    restore(policy.trainable[name], value, name, step)

    return lambda patch: patch.setattr(importance_sampling, "moved", moved)


def from_bfloat16(parameter: torch.nn.Parameter, value: torch.Tensor, name: str, step: float) -> None:
    """The copy to restore from was kept in half precision, to save memory."""
    parameter.copy_(value.bfloat16())


def but_the_last_layer(parameter: torch.nn.Parameter, value: torch.Tensor, name: str, step: float) -> None:
    """After the step ahead the last layer stays where it is."""
    if step < 0 or "layers.2." not in name:
        parameter.copy_(value)


def but_one_element(parameter: torch.nn.Parameter, value: torch.Tensor, name: str, step: float) -> None:
    """All but the last row of each tensor comes back after the step ahead."""
    parameter[:-1].copy_(value[:-1])
    if step < 0:
        parameter.copy_(value)


def merged_twice(policy: Policy) -> None:
    """The adapter is left merged into the base, and added to it once more by each pass."""
    for module in _adapted(policy):
        module.base_layer.weight.add_(module.get_delta_weight("default"))


def unmerged_with_rounding(patch: pytest.MonkeyPatch) -> None:
    """The adapter is merged for sampling, in the weights' half precision, and taken off again."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def sample(self: Setup, *arguments: Any, **named: Any) -> Any:
            found = real(self, *arguments, **named)
            with torch.no_grad():
                for module in _adapted(self.policy):
                    weight, delta = module.base_layer.weight, module.get_delta_weight("default")
                    weight.copy_((weight + delta).bfloat16().float() - delta)
            return found

        return sample

    wrap(patch, Setup, "sample", changed)


def _adapted(policy: Policy) -> list[Any]:
    return [module for module in policy.model.modules() if hasattr(module, "get_delta_weight")]


def adapter_stepped(policy: Policy) -> None:
    """A trained step is left in one adapter tensor, as by a real optimizer that was asked to step."""
    parameter = policy.trainable["model.layers.1.mlp.gate_proj.lora_B.default.weight"]
    parameter.add_(torch.sign(parameter), alpha=2e-3)


# ---------------------------------------------------------------------- the model beside its weights


def buffer_scaled(policy: Policy) -> None:
    """The rotary frequencies stay stretched, as by a dynamic scaling for a long batch that is not taken back."""
    policy.model.get_buffer("model.rotary_emb.inv_freq").mul_(0.9)


def hook_left(policy: Policy) -> None:
    """A hook that looked at one layer's output stays, and passes it on in half precision."""
    policy.model.get_submodule("model.layers.1.mlp").register_forward_hook(
        lambda module, inputs, output: output.bfloat16().float()
    )


def scaling_left(policy: Policy) -> None:
    """The adapters of one module stay switched off (``scale_layer`` without ``unscale_layer``)."""
    module = policy.model.get_submodule("model.layers.0.mlp.up_proj")
    module.scaling["default"] *= 0.5  # type: ignore[operator, index]


def training_left(policy: Policy) -> None:
    """One dropout is left in training mode."""
    policy.model.get_submodule("model.layers.1.mlp.up_proj.lora_dropout").train()


def noise_left(policy: Policy) -> None:
    """Noise on the embeddings (NEFTune) is left on, out of sight of the training mode."""
    layer = policy.model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    layer.register_forward_hook(
        lambda module, inputs, output: output + 1e-3 * torch.randn(output.shape, generator=generator)
    )


def attention_left(policy: Policy) -> None:
    """The scale of the attention is left as a diagnostic set it."""
    for module in policy.model.modules():
        if isinstance(getattr(module, "scaling", None), float):
            module.scaling *= 0.9  # type: ignore[assignment, operator]


def autocast_left(patch: pytest.MonkeyPatch) -> None:
    """Automatic mixed precision is left on for sampling when the first run has been measured."""
    done: list[bool] = []

    def sampled(real: Callable[..., Any]) -> Callable[..., Any]:
        def sample(*arguments: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=bool(done)):
                return real(*arguments)

        return sample

    wrap(patch, Policy, "sample", sampled)
    _once_after_a_run(lambda policy: done.append(True))(patch)


# ---------------------------------------------------------------------- caches, tables, order


def cache_of_another_batch(patch: pytest.MonkeyPatch) -> None:
    """Prompts' keys and values are looked up by their shape, and are those of an earlier batch of that shape."""
    known: dict[tuple[int, int], Any] = {}

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def prefill(policy: Policy, prompt_ids: Any, *arguments: Any, **named: Any) -> Any:
            shape = (len(prompt_ids), max(map(len, prompt_ids)))
            return real(policy, known.setdefault(shape, prompt_ids), *arguments, **named)

        return prefill

    for module in (sampling, teacher_forcing):
        wrap(patch, module, "prefill", changed)


def optimizer_state_advanced(patch: pytest.MonkeyPatch) -> None:
    """Each update leaves its gradient in the optimizer's second moments."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def take(batch: Any, policy: Any, optimizer: Any, *arguments: Any, **named: Any) -> Any:
            found = real(batch, policy, optimizer, *arguments, **named)
            for name, g in found.gradient.items():
                state = optimizer[name]
                state.exp_avg_sq.mul_(state.betas[1]).add_((g.float() ** 2).clamp(max=1.0), alpha=1 - state.betas[1])
            return found

        return take

    wrap(patch, source, "take_update", changed)


def momentum_advanced(patch: pytest.MonkeyPatch) -> None:
    """Each update leaves its gradient in the optimizer's first moments."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def take(batch: Any, policy: Any, optimizer: Any, *arguments: Any, **named: Any) -> Any:
            found = real(batch, policy, optimizer, *arguments, **named)
            for name, g in found.gradient.items():
                optimizer[name].exp_avg.lerp_(g.float(), 1 - optimizer[name].betas[0])
            return found

        return take

    wrap(patch, source, "take_update", changed)


def tables_go_on_learning(patch: pytest.MonkeyPatch) -> None:
    """The control variate's tables are changed in place towards each entropy batch."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def batch(self: TwoBatch, B_E: int, seed: int, update: Any) -> Any:
            prompts, rollouts = real(self, B_E, seed, update)
            learnt = control_variate.learn(rollouts, self.setup.config.max_new_tokens)
            width = min(len(learnt.token), len(update.control_variate.token))
            update.control_variate.token[:width].lerp_(learnt.token[:width], 0.5)
            return prompts, rollouts

        return batch

    wrap(patch, TwoBatch, "entropy_batch", changed)


def direction_changed_in_place(patch: pytest.MonkeyPatch) -> None:
    """A finite step scales the direction in place."""

    @contextmanager
    def moved(policy: Policy, direction: Mapping[str, torch.Tensor], step: float) -> Iterator[None]:
        with real(policy, direction, step):
            yield
        for u in direction.values():
            u.mul_(1.05)

    real = importance_sampling.moved
    patch.setattr(importance_sampling, "moved", moved)


def random_numbers_go_on(patch: pytest.MonkeyPatch) -> None:
    """Random numbers depend on how many were drawn before: a stream of the process, not of the run."""
    count = {"calls": 0}

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def uniforms(seed: int, *arguments: Any) -> Any:
            count["calls"] += 1
            return real(seed + count["calls"], *arguments)

        return uniforms

    wrap(patch, batches, "uniforms", changed)


def prompts_in_another_order(patch: pytest.MonkeyPatch) -> None:
    """Every draw leaves the set of prompts in another order: a run depends on those before it."""
    drawn = {"times": 0}

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def draw(prompts: Any, *arguments: Any, **named: Any) -> list[int]:
            drawn["times"] += 1
            shift = 101 * (drawn["times"] - 1)
            return [(index + shift) % len(prompts) for index in real(prompts, *arguments, **named)]

        return draw

    from pytest_entropy.probe import setup

    wrap(patch, setup, "draw_prompts", changed)


def _fault(name: str, plant: Plant, *causes: str, **more: Any) -> PlantedFault:
    return PlantedFault(name, KIND, plant, (*causes, "leak", "earlier run", "between runs"), **{**TWO, **more})


WEIGHTS = ("restore", "weights", "parameters")
FAULTS = [
    _fault("weights restored through bfloat16", _moved(from_bfloat16), *WEIGHTS, "bfloat16"),
    _fault("weights of the last layer not restored", _moved(but_the_last_layer), *WEIGHTS, "layers.2"),
    _fault("last rows not restored", _moved(but_one_element), *WEIGHTS),
    _fault("adapter left merged", _once_after_a_run(merged_twice), *WEIGHTS, "merged", "adapter", "base"),
    _fault("adapter unmerged with rounding", unmerged_with_rounding, *WEIGHTS, "merged", "adapter", "base"),
    _fault("an adapter tensor stepped", _once_after_a_run(adapter_stepped), *WEIGHTS, "gate_proj"),
    _fault("rotary frequencies stretched", _once_after_a_run(buffer_scaled), "buffer", "rotary", "inv_freq"),
    _fault("hook left on a module", _once_after_a_run(hook_left), "hook"),
    _fault("adapter of a module left scaled", _once_after_a_run(scaling_left), "scaling", "adapter"),
    _fault("dropout left in training mode", _once_after_a_run(training_left), "training", "dropout"),
    _fault("noise left on the embeddings", _once_after_a_run(noise_left), "hook", "noise", "embedding", "random"),
    _fault("attention left rescaled", _once_after_a_run(attention_left), "attention", "scaling", "attribute"),
    _fault("autocast left on", autocast_left, "autocast", "mixed precision", "bfloat16", "precision", "dtype"),
    _fault("cache of another batch", cache_of_another_batch, "cache", "another batch", "prompt"),
    _fault("optimizer's second moments advanced", optimizer_state_advanced, "moment", "optimizer", fresh_updates=True),
    _fault(
        "optimizer's first moments advanced", momentum_advanced, "moment", "optimizer", fresh_updates=True,
        settings={"update_rule": "adamw"},
    ),
    _fault("tables go on learning", tables_go_on_learning, "tables", "action values", "control variate"),
    _fault("direction scaled in place", direction_changed_in_place, "direction", "update"),
    _fault("random numbers go on", random_numbers_go_on, "random numbers", "seed"),
    _fault("prompts in another order", prompts_in_another_order, "order", "prompts", "seed"),
]  # fmt: skip
