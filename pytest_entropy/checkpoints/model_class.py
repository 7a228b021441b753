"""Choose the class of transformers that loads a model: the one whose name its ``config.json`` has, of those known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import read_object

# transformers' tables of classes that give next-token logits, by model type; the first one with a model's type counts.
TABLES = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
)


def class_name(directory: Path) -> str:
    """The name of the class of transformers that loads the model in a directory.

    A multimodal model, of which a run uses the text only, is loaded by the class that its trainer saved: its parameters
    have other names in the class of its language model alone.  A type in no table, which planning refuses unless this
    process registered it, has the automatic choice.

    Args:
        directory: the model's, with ``config.json``.
    """
    config = read_object(directory / "config.json")
    kind = str(config.get("model_type"))
    known = list(_classes(kind))
    listed = config.get("architectures")
    named = [name for name in listed if name in known] if isinstance(listed, list) else []
    return str([*named, *known, "AutoModelForCausalLM"][0])


def _classes(kind: str) -> Iterator[str]:
    from transformers.models.auto import modeling_auto

    for table in TABLES:
        names: Mapping[str, Any] = getattr(modeling_auto, table, {})
        found = names.get(kind, ())
        yield from [found] if isinstance(found, str) else found
