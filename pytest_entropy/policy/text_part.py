"""The part of a model that reads and writes text: of a multimodal model its language model, else all of it."""

from __future__ import annotations

import re
from typing import Any

from torch import nn


def text_config(model: Any) -> Any:
    """The configuration of the language model, which a multimodal model's own configuration holds as a part.

    Args:
        model: a transformers model.
    """
    return model.config.get_text_config(decoder=True)


def vocabulary(model: Any) -> int:
    """V, the number of tokens that the model's logits are over.

    Args:
        model: a causal language model of transformers.
    """
    return int(text_config(model).vocab_size)


def text_body(model: Any) -> nn.Module:
    """The module with the layers of the language model.

    Args:
        model: a causal language model of transformers.
    """
    body: nn.Module = model.get_decoder()
    # Where a language model with its own head is a part, its layers are one step further in.
    return text_body(body) if body is not model and hasattr(body, "lm_head") else body


def has_experts(model: Any) -> bool:
    """Whether layers route tokens to experts, so that a finite step may send a token to others: outputs jump there.

    Args:
        model: a model of transformers.
    """
    return any(re.search("expert|router|moe", type(module).__name__, re.IGNORECASE) for module in model.modules())
