"""The state that no run may change: weights, buffers, hooks, modes, the optimizer's state, the process's settings.

A run that leaves something behind gives the next run another policy than the checkpoint's.  Numbers are compared by
their bits, so that a restored parameter is one that has its very bits again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.policy.policy import Policy

# Elements of a frozen weight, or of a moment, that are compared, evenly spread; what is trained is compared whole.
SOME = 65_536
# Up to so many elements the sum of bits is weighted by position, so that swapped elements change it.
ORDERED = 2**20
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Rotary frequencies that a model recomputes for the length of its input.
REMADE = ("dynamic", "longrope")
Marks = dict[str, Any]


@dataclass(frozen=True)
class UntouchedState:
    """Marks of a policy's and an optimizer's state, by kind and name; equal states have equal marks.

    Attributes:
        weights, buffers: sums of bits by tensor name.
        gradients: whether a parameter takes a gradient, and whether it holds one.
        modules: a module's training mode, number of hooks, whether its forward was replaced, numbers (such as a
            scaling), and a layer's adapters (active, merged, disabled).
        optimizer: step, settings and sums of bits of the moments by parameter name.
    """

    weights: Marks
    buffers: Marks
    gradients: Marks
    modules: Marks
    optimizer: Marks

    @classmethod
    def of(cls, policy: Policy, optimizer: AdamWState) -> UntouchedState:
        """The marks of a policy and its optimizer's state now.

        Args:
            policy: its trainable parameters are read whole, its other weights in part.
            optimizer: AdamW's state by live parameter name.
        """
        model, trainable = policy.model, set(policy.trainable)
        parameters = dict(model.named_parameters())
        remade = _remakes_frequencies(model.config)
        buffers = {name: b for name, b in model.named_buffers() if not (remade and name.endswith("inv_freq"))}
        return cls(
            weights=_sums({n: p if n in trainable else _some(p) for n, p in parameters.items()}),
            buffers=_sums({n: _some(b) for n, b in buffers.items()}),
            gradients={n: (p.requires_grad, p.grad is not None) for n, p in parameters.items()},
            modules={
                n: (m.training, _hooks(m), "forward" in vars(m), _adapters(m), {} if remade else _plain(m))
                for n, m in model.named_modules()
            },
            optimizer=_sums({f"{n} {part}": _some(t) for n, part, t in _moments(optimizer)})
            | {n: (s.step, s.lr, s.betas, s.eps, s.weight_decay) for n, s in optimizer.items()},
        )

    def changes(self, after: UntouchedState) -> list[str]:
        """What differs afterwards, in words, a kind of state each; empty where nothing does.

        Args:
            after: the marks later.
        """
        kinds = (
            ("weights not restored", self.weights, after.weights),
            # A model may add a buffer in its first pass.
            ("buffers changed", self.buffers, {name: after.buffers.get(name) for name in self.buffers}),
            ("gradients left on or off", self.gradients, after.gradients),
            ("training mode, hooks, scaling attributes, merged or other adapters left", self.modules, after.modules),
            ("the optimizer's state changed", self.optimizer, after.optimizer),
        )
        return [f"{what}: {_listed(before, now)}" for what, before, now in kinds if before != now]


def process_state() -> dict[str, str]:
    """The process's settings and generators that a run must leave alone, by what they are, in words."""
    torch_random = torch.get_rng_state().numpy().tobytes()
    if torch.cuda.is_initialized():
        torch_random += b"".join(state.numpy().tobytes() for state in torch.cuda.get_rng_state_all())
    named = {
        "torch's random state": hashlib.sha256(torch_random).hexdigest(),
        "numpy's random state": hashlib.sha256(repr(np.random.get_state()).encode()).hexdigest(),
        "Python's random state": hashlib.sha256(repr(random.getstate()).encode()).hexdigest(),
        "gradient mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "precision of float32 products": torch.get_float32_matmul_precision(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads of an operation": torch.get_num_threads(),
    }
    return {what: str(value) for what, value in named.items()}


def process_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs between two :func:`process_state`, in words.

    Args:
        before, after: the two states.
    """
    return [f"{what} changed" for what in before if before[what] != after[what]]


def _some(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, len(flat) // SOME)]


def _sums(tensors: Mapping[str, torch.Tensor]) -> Marks:
    """Sums of bits; one transfer from the device for all of them."""
    sums: dict[torch.device, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if tensor.device.type != "meta":
            sums.setdefault(tensor.device, {})[name] = _sum_of_bits(tensor.detach().reshape(-1))
    return {
        name: value
        for own in sums.values()
        for name, value in zip(own, torch.stack(list(own.values())).tolist(), strict=True)
    }


def _sum_of_bits(flat: torch.Tensor) -> torch.Tensor:
    if flat.dtype == torch.bool:
        flat = flat.to(torch.uint8)
    bits = flat.contiguous().view(BITS[flat.element_size()]) if flat.element_size() in BITS else flat.view(torch.uint8)
    if len(bits) > ORDERED:
        return bits.sum(dtype=torch.int64)
    return (bits.to(torch.int64) * torch.arange(1, len(bits) + 1, device=bits.device)).sum()


def _hooks(module: torch.nn.Module) -> tuple[int, ...]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return tuple(len(getattr(module, kind, ())) for kind in kinds)


def _plain(module: torch.nn.Module) -> dict[str, str]:
    """A module's own numbers that are not integers (a scale, an epsilon), and dictionaries of them, as text.

    Integers and words are left out: modules keep the lengths of their last input in them.
    """
    return {
        name: repr(value)
        for name, value in vars(module).items()
        if isinstance(value, float)
        or (isinstance(value, dict) and value and all(isinstance(v, float) for v in value.values()))
    }


def _adapters(module: torch.nn.Module) -> str:
    """Which of peft's adapters of a layer are active, merged and disabled, in words; empty for other modules."""
    if not hasattr(module, "merged_adapters"):
        return ""
    return f"{module.active_adapters} {module.merged_adapters} {module.disable_adapters}"


def _moments(optimizer: AdamWState) -> Iterator[tuple[str, str, torch.Tensor]]:
    for name, state in optimizer.items():
        yield name, "first moment", state.exp_avg
        yield name, "second moment", state.exp_avg_sq


def _remakes_frequencies(config: Any) -> bool:
    ropes = [getattr(config, key, None) for key in ("rope_scaling", "rope_parameters")]
    return any(kind in str(rope) for rope in ropes for kind in REMADE)


def _listed(before: Marks, after: Marks) -> str:
    changed = [name or "the model" for name in {**before, **after} if before.get(name) != after.get(name)]
    return f"{len(changed)}, {changed[0]}" if changed else "their order"
