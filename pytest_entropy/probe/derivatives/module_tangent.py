"""The tangent of a module's output when its own parameters move: in closed form, or in forward mode by itself."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pytest_entropy.policy.kv_cache import is_cache
from pytest_entropy.probe.pieces import is_out_of_memory

# torch.func.jvp keeps its nesting level in a module global, so threads must take turns.
_JVP_TURN = threading.Lock()


def module_tangent(
    module: nn.Module, moved: Mapping[str, torch.Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> torch.Tensor:
    """J_M(x)[u]: the derivative of a module's output when its own parameters move along u, in the output's shape.

    Linear maps and embeddings have a closed form; any other module is differentiated in forward mode by itself.

    Args:
        module: the module M.
        moved: u by the module's own parameter names (``weight``, ``bias``), in the parameters' shapes.
        args, kwargs: the module's input x.

    Raises:
        NotImplementedError: the module cannot be differentiated in forward mode: torch has no such derivative of an
            operation in it (its grouped product of experts), or it writes into a key/value cache, which has been
            written already.
    """
    if type(module) is nn.Linear and not kwargs:
        if "weight" in moved:
            return functional.linear(args[0], moved["weight"], moved.get("bias"))
        shape = (*args[0].shape[:-1], module.out_features)
        return moved["bias"].expand(shape)
    if type(module) is nn.Embedding and not kwargs and module.max_norm is None:
        return functional.embedding(args[0], moved["weight"])
    return _forward_mode(module, moved, args, kwargs)


def _forward_mode(
    module: nn.Module, moved: Mapping[str, torch.Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> torch.Tensor:
    def run(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        # A shallow copy with its own parameter table: the shared module is not touched, hooks do not run.
        shadow = copy.copy(module)
        shadow.__dict__["_parameters"] = {**module._parameters, **parameters}
        shadow.__dict__["_forward_hooks"] = OrderedDict()
        if "_hf_hook" in shadow.__dict__:
            # accelerate has put a forward of its own there, which is bound to the shared module.
            shadow.__dict__.pop("forward", None)
        output: torch.Tensor = shadow.forward(*args, **kwargs)
        return output

    if any(map(is_cache, (*args, *kwargs.values()))):
        raise NotImplementedError(f"{type(module).__name__} writes into a cache")
    primal = {key: module._parameters[key].detach() for key in moved}  # type: ignore[union-attr]
    try:
        with _JVP_TURN:
            tangent: torch.Tensor = torch.func.jvp(run, (primal,), (dict(moved),))[1]
    except RuntimeError as error:
        # Forms of code that torch cannot differentiate so: in-place writes, functions with a backward of their own.
        if is_out_of_memory(error):
            raise
        raise NotImplementedError(str(error)) from error
    return tangent
