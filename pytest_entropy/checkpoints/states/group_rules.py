"""How trainers sort parameters into an optimizer's groups, version by version; the groups decide the numbering.

transformers' versions are read from their sources, the others from their repositories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Since 4.53; earlier versions exempted LayerNorms, and norms of classes that a model registered, by their class.
_NO_DECAY = [re.compile(p) for p in (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")]
CURRENT = "transformers since 4.53"
# Parts of names that have no weight decay.
_BY_NAME = {
    "OpenRLHF and DeepSpeed-Chat": ("bias", "layer_norm.weight", "layernorm.weight", "norm.weight", "ln_f.weight"),
    "open-instruct and transformers' examples": ("bias", "layer_norm.weight"),
    "transformers' former examples": ("bias", "LayerNorm.weight"),
    "biases without decay": ("bias",),
}


@dataclass(frozen=True)
class Split:
    """Parameters in an optimizer's groups.

    Attributes:
        rule: whose groups these are, in words.
        groups: names group by group, the optimizer's order.
        light: the numbers of the groups without weight decay.
    """

    rule: str
    groups: tuple[tuple[str, ...], ...]
    light: frozenset[int]

    @property
    def sizes(self) -> list[int]:
        """Of the groups that hold a parameter."""
        return [len(group) for group in self.groups if group]

    @property
    def order(self) -> list[str]:
        """All names, as the optimizer numbers them."""
        return [name for group in self.groups for name in group]


def decays(name: str) -> bool:
    """Whether transformers' Trainer applies weight decay to a parameter, by its name."""
    return not any(pattern.search(name.lower()) for pattern in _NO_DECAY)


def known_splits(model: Any, given: Sequence[str]) -> Iterator[Split]:
    """The groups that each known trainer makes of a model's parameters, the most common trainer first.

    Args:
        model: the live model.
        given: names in ``named_parameters()`` order.
    """
    plain, every = _inside_norms(model)
    dims = {name: parameter.dim() for name, parameter in model.named_parameters()}

    def by(rule: str, words: Sequence[str] = (), norms: frozenset[str] = frozenset(), *, lower: bool = False) -> Split:
        """Without decay are names with one of the words, and parameters of these norms."""
        light = [any(word in (name.lower() if lower else name) for word in words) or name in norms for name in given]
        return _two(rule, given, light)

    yield _two(CURRENT, given, [name in plain or not decays(name) for name in given])
    for norms in (plain, every):
        yield by("transformers 4.49 to 4.52", ("bias", "layernorm", "rmsnorm"), norms, lower=True)
        yield by("transformers before 4.49", ("bias",), norms)
    yield _two("tensors of two dimensions with decay (nanoGPT)", given, [dims[name] < 2 for name in given])
    for rule, words in _BY_NAME.items():
        yield by(rule, words)
    for norms in (plain, every):
        yield from _loraplus(given, dims, norms)
    saved = tuple(name for name in given if ".modules_to_save." in name)
    yield Split("Unsloth's embeddings", (tuple(name for name in given if name not in set(saved)), saved), frozenset())


def _two(rule: str, given: Sequence[str], light: Sequence[bool]) -> Split:
    """Two groups, the second one without decay."""
    pairs = list(zip(given, light, strict=True))
    return Split(
        rule,
        tuple(tuple(name for name, is_light in pairs if is_light is side) for side in (False, True)),
        frozenset({1}),
    )


def _loraplus(given: Sequence[str], dims: Mapping[str, int], norms: frozenset[str]) -> Iterator[Split]:
    """LoRA+ by peft (A, embeddings, B, B without decay) and by LLaMA-Factory (A, B, B without decay, embeddings)."""

    def parts(embedding: str | None) -> dict[str, tuple[str, ...]]:
        sorted_in: dict[str, list[str]] = {"A": [], "embedding": [], "B": [], "light": []}
        for name in given:
            if embedding is not None and embedding in name:
                kind = "embedding"
            elif "lora_B" in name or dims[name] == 1:
                kind = "light" if name in norms or "bias" in name or not decays(name) else "B"
            else:
                kind = "A"
            sorted_in[kind].append(name)
        return {kind: tuple(names) for kind, names in sorted_in.items()}

    factory = parts("lora_embedding_B")
    # Earlier versions of peft took no embedding for one.
    for peft in (parts("lora_embedding_"), parts(None)):
        yield Split("peft's LoRA+", tuple(peft[kind] for kind in ("A", "embedding", "B", "light")), frozenset({3}))
    yield Split(
        "LLaMA-Factory's LoRA+", tuple(factory[kind] for kind in ("A", "B", "light", "embedding")), frozenset({2})
    )


def _inside_norms(model: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Parameters of torch's LayerNorms, and of all modules whose class is called a norm."""
    import torch

    plain, every = set(), set()
    for name, module in model.named_modules():
        own = {f"{name}.{parameter}" if name else parameter for parameter in module._parameters}
        if isinstance(module, torch.nn.LayerNorm):
            plain |= own
        if isinstance(module, torch.nn.LayerNorm) or "norm" in type(module).__name__.lower():
            every |= own
    return frozenset(plain), frozenset(every)
