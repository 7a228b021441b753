"""A small checkpoint's model loaded a second time, by transformers and peft alone, and its scores of a few tokens.

Whatever the loader did to the model (another base, adapter, scaling, rotary frequency, norm, head, hook) changes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, GenerationMixin

from pytest_entropy.checkpoints.second_reading.files import json_object

# Bytes of weights up to which a model is loaded twice; the second one is dropped at once.
LARGEST = 2**29
# Tokens that are scored, and the largest differences of two correct passes, in nats: at least the first number.
TOKENS, LEAST, ROUNDINGS = 24, 5e-4, 32


@dataclass(frozen=True)
class SecondScores:
    """What the second model says of a few tokens.

    Attributes:
        ids: the tokens, ``[L]``.
        log_probs: log pi of every next token, ``[L, V]`` float32, nats.
    """

    ids: torch.Tensor
    log_probs: torch.Tensor

    def difference(self, model: Any) -> float:
        """The largest difference from a model in use, in nats, where a probability is not negligible.

        It is 0 up to rounding, and 1 where the vocabularies differ.

        Args:
            model: the model in use.
        """
        own = _scored(model, self.ids)
        if own.shape != self.log_probs.shape:
            return 1.0
        seen = torch.maximum(own, self.log_probs) > -12
        worst = float((own - self.log_probs)[seen].abs().max())
        # The second model computes on the CPU, whose sums another device takes in another order.
        least = LEAST if next(model.parameters()).device.type == "cpu" else 4 * LEAST
        rounding = max(torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point())
        return 0.0 if worst <= max(least, ROUNDINGS * rounding) else worst


def read_scores(place: Path, base: str | None, *, coarse: bool = False) -> SecondScores:
    """Load the model of a checkpoint that the loader has accepted, and score a few tokens.

    Args:
        place: the directory of the weights.
        base: directory of an adapter's base; None for a whole model.
        coarse: whether the base is in use in bfloat16, whose rounding changes scores by more than a fault may.

    Raises:
        ValueError: the model is too large to be loaded twice, or its base is no directory.
    """
    source = place if base is None else Path(base)
    if not source.is_dir():
        raise ValueError(f"the base {base} is not a directory here")
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    if not 0 < size <= LARGEST:
        raise ValueError(
            f"{size / 2**20:.0f} MiB of weights: only up to {LARGEST / 2**20:.0f} are loaded a second time"
        )
    with warnings.catch_warnings(), _random_state_kept():
        warnings.simplefilter("ignore")
        dtype = torch.bfloat16 if coarse else torch.float32
        options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
        loaded: Any = _class_of(source).from_pretrained(str(source), dtype=dtype, output_loading_info=True, **options)
        model, report = loaded
        if report["missing_keys"]:
            raise ValueError("transformers does not find its tensors by their names on disk")
        if base is not None:
            from peft import PeftModel, get_peft_model_state_dict

            model = PeftModel.from_pretrained(model, str(place))
            with safe_open(str(place / "adapter_model.safetensors"), framework="pt") as stored:
                if not set(get_peft_model_state_dict(model, save_embedding_layers=False)) <= set(stored.keys()):
                    raise ValueError("peft does not find the adapter's tensors by their names on disk")
    model.eval()
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(TOKENS) * 7919 % vocabulary
    return SecondScores(ids, _scored(model, ids))


def _class_of(source: Path) -> Any:
    """The class that the model's configuration names first, where transformers has it, else the automatic choice."""
    named = json_object(source / "config.json").get("architectures") or [""]
    found = getattr(transformers, str(named[0]), None)
    return found if isinstance(found, type) and issubclass(found, GenerationMixin) else AutoModelForCausalLM


@torch.no_grad()
def _scored(model: Any, ids: torch.Tensor) -> torch.Tensor:
    device = next(model.get_input_embeddings().parameters()).device
    logits = model(input_ids=ids[None].to(device), use_cache=False).logits[0]
    return torch.log_softmax(logits.double(), -1).float().cpu()


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Leave torch's random state as it was: libraries initialise tensors before they read them."""
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)
