"""Layer-wise recomputation: a pass keeps each layer's input only, and backward computes the layer again.

It is for responses of which not one would fit otherwise: memory per token falls to that of one hidden state per layer,
at the price of a second forward pass (Chen et al. 2016, arXiv 1604.06174).  A prompt is then computed for each of its
responses, because a shared cache would be written twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pytest_entropy.policy.row_map import SamePass
from pytest_entropy.policy.text_part import text_body, text_config

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy


class _Active(threading.local):
    here: bool = False


@dataclass
class _Wrapped:
    """The layers of one model whose forward passes can be recomputed, and the number of blocks that use it."""

    layers: list[nn.Module]
    before: list[Callable[..., Any] | None]
    users: int = 0


_active = _Active()
_WRAPPED: WeakKeyDictionary[nn.Module, _Wrapped] = WeakKeyDictionary()
_LOCK = threading.Lock()


def recomputing(policy: Policy) -> Policy:
    """The same policy with passes whose layers are recomputed in backward.

    Args:
        policy: its model is shared with the result.
    """
    # Found out before layers are wrapped.
    _ = policy.plain_head
    return policy.computing(recompute=True)


def layers_of(model: Any) -> list[nn.Module]:
    """The layers of a model's body, in order; empty where it has none that can be told.

    Args:
        model: a causal language model of transformers.
    """
    count = getattr(text_config(model), "num_hidden_layers", None)
    lists = [m for m in text_body(model).modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return list(lists[0]) if lists else []


@contextmanager
def recomputed_layers(model: Any) -> Iterator[None]:
    """A block in which this thread's passes with gradients keep each layer's input only.

    Args:
        model: a causal language model of transformers; as it was after the block.
    """
    with _LOCK:
        wrapped = _WRAPPED.get(model)
        if wrapped is None:
            wrapped = _WRAPPED[model] = _wrap(layers_of(model))
        wrapped.users += 1
    before, _active.here = _active.here, True
    try:
        yield
    finally:
        _active.here = before
        with _LOCK:
            wrapped.users -= 1
            if not wrapped.users:
                del _WRAPPED[model]
                _unwrap(wrapped)


def _wrap(layers: list[nn.Module]) -> _Wrapped:
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        vars(layer)["forward"] = _recomputed(layer.forward)
    return _Wrapped(layers, before)


def _unwrap(wrapped: _Wrapped) -> None:
    for layer, forward in zip(wrapped.layers, wrapped.before, strict=True):
        if forward is None:
            del vars(layer)["forward"]
        else:
            vars(layer)["forward"] = forward


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def compute(*args: Any, **kwargs: Any) -> Any:
        if not (_active.here and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        again = SamePass()
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,
            # Hooks inside the layer fire again, under the epsilon and the row groups of this pass.
            context_fn=lambda: (nullcontext(), again),
            **kwargs,
        )

    return compute
