"""LoRA's scaling by adapter_config.json, alpha / r or alpha / sqrt(r), against every adapted module of the model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_entropy.checkpoints.second_reading.elements import relative
from pytest_entropy.checkpoints.second_reading.names import ADAPTER, by_same_end, matched_name, plain_name


def scaling_differences(config: Mapping[str, Any], keys: Iterable[str], model: Any) -> dict[str, float]:
    """The relative difference of every adapted module's scaling from the configured one, by module and what differs.

    A module that the file has tensors of, and that is not adapted, merged, disabled or inactive, differs by 1.

    Args:
        config: the adapter's configuration.
        keys: of the tensors in the adapter's file.
        model: the model in use.
    """
    named = {plain_name(key, base_layer=False).partition(".lora_")[0] for key in keys if ".lora_" in key}
    found: dict[str, float] = {}
    adapted = set()
    for name, module in model.named_modules():
        if hasattr(module, "modules_to_save") or isinstance(getattr(module, "scaling", None), dict):
            found[f"{name} is not active"] = float(not _active(module))
        if isinstance(getattr(module, "scaling", None), dict):
            module_name = plain_name(name, base_layer=False)
            adapted.add(matched_name(module_name))
            parameter = getattr(module, "parameter_name", None)
            whole = f"{module_name}.{parameter}" if parameter else module_name
            there = module.scaling.get(ADAPTER, math.nan)
            found[f"scaling of {name}"] = relative(configured(config, whole), float(there))
    ends = by_same_end(map(matched_name, named), adapted)
    return found | {f"{name} is not adapted": 1.0 for name in sorted(named) if matched_name(name) not in ends}


def configured(config: Mapping[str, Any], module: str) -> float:
    """The scaling of a module by the adapter's configuration.

    Args:
        config: holds r, lora_alpha, use_rslora, rank_pattern and alpha_pattern.
        module: the module's name in the base model.
    """
    rank = _by_pattern(config.get("rank_pattern"), module, config["r"])
    alpha = _by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, float] | None, module: str, otherwise: float) -> float:
    """The value of the first pattern that the end of the module's name matches."""
    fits = (value for p, value in (patterns or {}).items() if re.fullmatch(rf"(?:.*\.)?(?:{p})", module))
    return float(next(fits, otherwise))


def _active(module: Any) -> bool:
    active = getattr(module, "active_adapters", [])
    return list(active) == [ADAPTER] and not module.disable_adapters and not getattr(module, "merged", False)
