"""What of TRL's loss, sampling and rewards the probe's update does not have, a sentence for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Sampling arguments, with the values that leave softmax(logits / temperature) as it is.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (None, 1),
    "top_k": (None, 0, -1),
    "min_p": (None, 0),
    "repetition_penalty": (None, 1),
    "generation_kwargs": (None, ""),
}


def left_out(given: Mapping[str, Any]) -> list[str]:
    """The arguments that the probe's update does not follow, each with what it does instead.

    Args:
        given: TRL's arguments by name.
    """
    return [*_of_the_loss(given), *_of_the_batch(given), *_of_the_rewards(given)]


def _of_the_loss(given: Mapping[str, Any]) -> list[str]:
    said = []
    if _number(given, "beta"):
        said.append(f"the trainer's KL term (beta {given['beta']:g}) is left out of the update")
    if _number(given, "entropy_coef") or given.get("use_adaptive_entropy") is True:
        said.append("the trainer's entropy bonus (entropy_coef) is left out of the update")
    if 0 <= _number(given, "top_entropy_quantile", 1.0) < 1:
        said.append("the trainer's loss took tokens of high entropy only (top_entropy_quantile); here all tokens count")
    if given.get("mask_truncated_completions") is True:
        said.append("truncated completions were masked in training (mask_truncated_completions), and are counted here")
    return said


def _of_the_batch(given: Mapping[str, Any]) -> list[str]:
    said = []
    several = _number(given, "num_iterations", 1) > 1
    apart = _number(given, "steps_per_generation") > _number(given, "gradient_accumulation_steps", 1)
    if several or apart:
        why = "num_iterations" if several else "steps_per_generation"
        said.append(f"the trainer took several steps per batch ({why}); the update here is the first, on-policy one")
    bent = [name for name, neutral in _NEUTRAL.items() if not _is_neutral(given.get(name), neutral)]
    if bent:
        listed = ", ".join(f"{name} {given[name]:g}" if _is_number(given[name]) else name for name in bent)
        said.append(f"the trainer sampled with {listed}; here responses are drawn from softmax(logits / T)")
    return said


def _of_the_rewards(given: Mapping[str, Any]) -> list[str]:
    said = []
    if given.get("multi_objective_aggregation") == "normalize_then_sum":
        said.append("the trainer normalised each reward (multi_objective_aggregation); here their sum is normalised")
    if given.get("normalize_advantages") is True:
        said.append("the trainer normalised its advantages over the batch (normalize_advantages); here they are not")
    if given.get("reward_clip_range") is not None:
        said.append("the trainer clipped its rewards (reward_clip_range): clip them in the function given as --reward")
    return said


def _is_neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    if isinstance(value, dict | list):
        return not value
    return value in neutral if value is None or isinstance(value, str) or _is_number(value) else False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _number(given: Mapping[str, Any], name: str, without: float = 0.0) -> float:
    """A number among the arguments, ``without`` where it is none."""
    value = given.get(name)
    return float(value) if isinstance(value, int | float) else without
