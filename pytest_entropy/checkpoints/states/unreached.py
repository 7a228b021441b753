"""Find the parameters that a pass over text does not reach: a vision tower's, or adapters that no forward uses.

A trainer's backward over text gives them no gradient, so that its optimizer leaves them where they are and has no state
for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from pytest_entropy.policy.text_part import text_config, vocabulary

# Tokens of the pass: enough for a layer that looks back, and for experts to be routed to.
TOKENS = 16


def unreached(model: Any, names: Sequence[str]) -> frozenset[str]:
    """Those of the parameters that the gradient of a pass over a few tokens of text does not reach.

    Args:
        model: a causal language model of transformers, in eval mode or not; it is not changed.
        names: live names of parameters that require a gradient.
    """
    parameters = dict(model.named_parameters())
    ids = torch.tensor([_text(model)], device=model.get_input_embeddings().weight.device)
    with torch.enable_grad():
        reached = _leaves(model(input_ids=ids, use_cache=False).logits.grad_fn)
    return frozenset(name for name in names if id(parameters[name]) not in reached)


def _leaves(end: Any) -> set[int]:
    """The ids of the tensors from which a graph starts; no gradient is computed, which takes the model's memory again.

    Args:
        end: the graph's last node; None for no graph.
    """
    waiting, seen, found = [end], set[Any](), set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found


def without_state(model: Any, names: Sequence[str], with_state: Iterable[str]) -> frozenset[str]:
    """Those of the parameters without a state that rightly have none: no text reaches them or others like them.

    An expert that no token was routed to has none either, but a later batch may reach it: it is like experts with a
    state in all but its number.

    Args:
        model: a causal language model of transformers.
        names: live names of the trainable parameters without a state.
        with_state: live names of those with one.
    """
    known = {_any_number(name) for name in with_state}
    candidates = [name for name in names if _any_number(name) not in known]
    return unreached(model, candidates) if candidates else frozenset()


def is_multimodal(model: Any) -> bool:
    """Whether a language model is only a part of the model.

    Args:
        model: a model of transformers.
    """
    return text_config(model) is not model.config


def _any_number(name: str) -> str:
    """A parameter's name with the numbers of layers and experts left open."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def _text(model: Any) -> list[int]:
    """Token ids of text: none that stands for an image or another insertion."""
    marks = {value for key, value in vars(model.config).items() if "token" in key and isinstance(value, int)}
    words = [token for token in range(min(vocabulary(model), 4 * TOKENS + len(marks))) if token not in marks]
    return (words or [0])[:TOKENS]
