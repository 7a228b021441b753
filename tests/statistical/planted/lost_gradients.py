"""Gradients lost where they are lost: u is zero exactly there, so that a comparison along u never looks.

The second half loses parts of the derivative pass of s_n instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_entropy.policy import teacher_forcing
from pytest_entropy.probe.derivatives import attached, derivative_piece, gradient, objectives
from pytest_entropy.probe.update import batch as update_batch
from tests.statistical.planted.planted_fault import Plant, PlantedFault, after, wrap

KIND = "lost_gradients"
ADAMW = {"update_rule": "adamw"}
Gradients = dict[str, torch.Tensor]
# Pieces small enough that U has several.
SMALL = {"chunk_tokens": 1024}


# ---------------------------------------------------------------------- the loss


def _each(change: Callable[[str, torch.Tensor], torch.Tensor]) -> Plant:
    """Every piece's gradient of the loss passes through ``change`` by its name."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def of_loss(found: Gradients) -> Gradients:
            return {name: change(name, g) for name, g in found.items()}

        after(patch, update_batch, "policy_gradient", of_loss)

    return plant


def lost_where(words: str) -> Plant:
    """The gradient of the tensors whose name holds the words."""
    return _each(lambda name, g: torch.zeros_like(g) if words in name else g)


def one_block(name: str, g: torch.Tensor) -> torch.Tensor:
    """A quarter of one tensor, as a shard that was not gathered."""
    if "layers.1.mlp.down_proj.lora_A" in name:
        g = g.clone()
        g[:, : g.shape[1] // 4] = 0
    return g


def every_shard_but_the_first(name: str, g: torch.Tensor) -> torch.Tensor:
    """The last eighth of every tensor, as padding of a flat buffer that was cut off."""
    flat = g.flatten().clone()
    flat[-(flat.numel() // 8) :] = 0
    return flat.reshape(g.shape)


def small_ones_underflow(name: str, g: torch.Tensor) -> torch.Tensor:
    """Accumulated in half precision without loss scaling: entries below its smallest normal number are 0."""
    return torch.where(g.abs() < 2.0**-14, 0.0, g)


def of_biggest_only(name: str, g: torch.Tensor) -> torch.Tensor:
    """Entries clipped one by one to a tenth of the tensor's largest (``clip_grad_value_`` left on)."""
    return g.clamp(-float(g.abs().max()) / 10, float(g.abs().max()) / 10)


def _pieces(change: Callable[[list[Any]], Iterable[Any]]) -> Plant:
    """The pieces of a sum of gradients, as a list, pass through ``change``."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def changed(real: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
            return lambda *arguments, **named: iter(change(list(real(*arguments, **named))))

        wrap(patch, gradient, "worked", changed)

    return plant


def last_prompt_dropped(patch: pytest.MonkeyPatch) -> None:
    """A loader with drop_last: the last prompt's loss does not count."""

    def changed(real: Callable[..., Gradients]) -> Callable[..., Gradients]:
        def without(policy: Any, rollouts: Any, weights: torch.Tensor, **named: Any) -> Gradients:
            weights = weights.clone()
            weights[-1] = 0
            return real(policy, rollouts, weights, **named)

        return without

    wrap(patch, update_batch, "policy_gradient", changed)


def late_tokens_dropped(patch: pytest.MonkeyPatch) -> None:
    """The loss of tokens from position 10 on is masked."""

    def value(self: objectives.Loss, forced: Any, part: Any) -> torch.Tensor:
        own: torch.Tensor = self.weights * forced.log_probs[..., :10].double().sum(-1)
        return -own.sum()

    patch.setattr(objectives.Loss, "value", value)


def first_token_dropped(patch: pytest.MonkeyPatch) -> None:
    """The mask of the prompt is four tokens too long: the loss of a response's first tokens is lost."""

    def value(self: objectives.Loss, forced: Any, part: Any) -> torch.Tensor:
        own: torch.Tensor = self.weights * forced.log_probs[..., 4:].double().sum(-1)
        return -own.sum()

    patch.setattr(objectives.Loss, "value", value)


def _while_computing(owner: Any, hook_at: Callable[[Any], torch.nn.Module]) -> Plant:
    """While the pieces of ``owner`` are computed, the input of one module is detached."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def changed(real: Callable[..., Any]) -> Callable[..., Any]:
            def compute(self: Any, policy: Any) -> Any:
                def cut(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                    return tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args), {
                        key: a.detach() if isinstance(a, torch.Tensor) else a for key, a in kwargs.items()
                    }

                handle = hook_at(policy.model).register_forward_pre_hook(cut, with_kwargs=True)
                try:
                    return real(self, policy)
                finally:
                    handle.remove()

            return compute

        wrap(patch, owner, "compute", changed)

    return plant


def prompt_without_gradient(patch: pytest.MonkeyPatch) -> None:
    """The prompt's keys and values, shared by its responses, carry no gradient of the loss."""
    inside = {"loss": False}

    def of_loss(real: Callable[..., Any]) -> Callable[..., Any]:
        def compute(self: gradient.GradientPiece, policy: Any) -> Any:
            inside["loss"] = True
            try:
                return real(self, policy)
            finally:
                inside["loss"] = False

        return compute

    wrap(patch, gradient.GradientPiece, "compute", of_loss)
    after(patch, teacher_forcing, "prefill", lambda found: _cut_cache(found) if inside["loss"] else found)


def prompt_without_any_gradient(patch: pytest.MonkeyPatch) -> None:
    """The prompt is computed under no_grad, for the loss and for s_n alike."""
    after(patch, teacher_forcing, "prefill", lambda found: (found[0].detach(), *_cut_cache(found)[1:]))


def _cut_cache(found: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    for layer in found[1].layers:
        layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
    return found


# ---------------------------------------------------------------------- s_n


def _direction_without(words: str) -> Plant:
    """The derivative pass of the estimators moves every tensor but those with the words in their names."""

    def without(direction: Any) -> Any:
        return {name: u for name, u in direction.items() if words not in name}

    return lambda patch: after(patch, attached, "along_slope", without)


def last_position_of_epsilon(patch: pytest.MonkeyPatch) -> None:
    """The derivative of a piece's last prompt is lost: epsilon is one entry short."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def derivative(*arguments: Any, **named: Any) -> Any:
            along, vector = real(*arguments, **named)
            if along.ndim and along.shape[1] > 1:
                along[:, -1] = 0
            return along, vector

        return derivative

    wrap(patch, derivative_piece, "_derivative", changed)


def weights_of_late_tokens(patch: pytest.MonkeyPatch) -> None:
    """Tokens of a response from position 10 on do not enter s_n."""

    def cut(found: Any) -> Any:
        def early(weights: torch.Tensor) -> torch.Tensor:
            positions = torch.arange(weights.shape[-1])
            return torch.where(positions < 10, weights, 0.0)

        parts = {
            name: early(one) for name in ("log_prob", "entropy", "expected_value")
            if (one := getattr(found, name)) is not None
        }  # fmt: skip
        return replace(found, **parts)

    after(patch, derivative_piece, "weights_for", cut)


def _fault(name: str, plant: Plant, *causes: str, **more: Any) -> PlantedFault:
    lost = "derivative" if name.startswith("s_n") else "gradient"
    return PlantedFault(name, KIND, plant, (*causes, lost), **more)


PIECE = ("piece", "microbatch", "prompt")
FAULTS = [
    _fault("gradient of one tensor", lost_where("layers.1.self_attn.o_proj.lora_B"), "o_proj"),
    _fault("gradient of one small tensor", lost_where("layers.0.self_attn.k_proj.lora_A"), "k_proj"),
    _fault("gradient of the first layer", lost_where("layers.0."), "layers.0", "layer"),
    _fault("gradient of the last layer", lost_where("layers.2."), "layers.2", "layer"),
    _fault("gradient of every lora_A", lost_where("lora_A"), "lora_a"),
    _fault("gradient of every lora_B", lost_where("lora_B"), "lora_b"),
    _fault("gradient of one tensor, adamw", lost_where("layers.1.mlp.up_proj.lora_B"), "up_proj", settings=ADAMW),
    _fault("gradient of a block of a tensor", _each(one_block), "down_proj", "block", "element"),
    _fault("gradient of the last eighth of all tensors", _each(every_shard_but_the_first), "block", "element"),
    _fault("gradient through float16", _each(small_ones_underflow), "float16", "precision", "underflow"),
    _fault("gradient clipped entry by entry", _each(of_biggest_only), "clip"),
    _fault("last piece dropped", _pieces(lambda found: found[:-1]), *PIECE, settings=SMALL),
    _fault("first piece twice", _pieces(lambda found: [found[0], *found]), *PIECE, "twice", settings=SMALL),
    _fault("last prompt dropped", last_prompt_dropped, "prompt"),
    _fault("tokens from position 10 on dropped", late_tokens_dropped, "token", "position"),
    _fault("first tokens dropped", first_token_dropped, "token", "position", "shift"),
    _fault(
        "detached before the second layer", _while_computing(gradient.GradientPiece, lambda m: m.model.layers[1]),
        "detach", "layers.0", "layer",
    ),
    _fault(
        "detached before one projection",
        _while_computing(gradient.GradientPiece, lambda m: m.model.layers[2].mlp.down_proj), "detach", "layer",
    ),
    _fault("prompt without gradient of the loss", prompt_without_gradient, "prompt", "cache", "detach"),
    _fault("prompt without any gradient", prompt_without_any_gradient, "prompt", "cache", "detach"),
    _fault("s_n without one tensor", _direction_without("layers.1.self_attn.v_proj.lora_A"), "v_proj"),
    _fault("s_n without one layer", _direction_without("layers.0."), "layer"),
    _fault("s_n without every lora_A", _direction_without("lora_A"), "lora_a"),
    _fault("s_n of each piece's last prompt", last_position_of_epsilon, "prompt", "piece"),
    _fault("s_n without late tokens", weights_of_late_tokens, "token", "position"),
    _fault(
        "s_n detached before the second layer",
        _while_computing(derivative_piece.DerivativePiece, lambda m: m.model.layers[1]), "detach",
    ),
]  # fmt: skip
