"""The trainer's settings as a layer of the configuration, and what a session's header says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.checkpoints.trainer_settings import TrainerSettings
from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.errors import UsageError
from pytest_entropy.settings.dotted_keys import nested
from pytest_entropy.settings.layers import BUILT_IN, Layer, ResolvedConfig, resolve_config
from pytest_entropy.settings.reward_terms import names_a_weight

_REWARD = "reward"


def with_trainer(
    trainer: TrainerSettings, below: Sequence[Layer], above: Sequence[Layer], without: ResolvedConfig
) -> tuple[ResolvedConfig, tuple[str, ...]]:
    """The configuration with the trainer's settings, and the header's lines about them.

    Args:
        trainer: its settings, which stand above templates and below what the user gives.
        below, above: the other layers.
        without: the configuration of these alone.

    Raises:
        UsageError: a setting does not go with the others.
    """
    own = [Layer(NAME, nested(key, value)) for key, value in trainer.values.items()]
    weighted, of_weights = _weights(trainer, [*below, *above], without)
    try:
        resolved = resolve_config([*below, *own, *above, *weighted])
    except UsageError as error:
        # Without the trainer's settings the configuration is valid.
        listed = ", ".join(f"{key} {value}" for key, value in trainer.values.items())
        raise UsageError(f"{error}\n({NAME} says {listed}; --entropy-set overrides it)") from error
    lines = [*_taken(trainer, without, resolved), *of_weights]
    return resolved, (*lines, *(f"  warning: {warning}" for warning in trainer.warnings))


def _weights(
    trainer: TrainerSettings, layers: Sequence[Layer], without: ResolvedConfig
) -> tuple[list[Layer], list[str]]:
    """The trainer's reward weights as a layer, where the user named as many rewards and no weights; else a warning."""
    weights = trainer.reward_weights
    given = next((layer for layer in reversed(layers) if _REWARD in layer.values), None)
    if given is not None and names_a_weight(given.values[_REWARD]):
        return [], []
    terms = without.config.reward
    if all(weight == 1 for weight in weights) and (given is None or len(weights) in (0, len(terms))):
        return [], []
    listed = ", ".join(f"{weight:g}" for weight in weights)
    if given is None or len(weights) != len(terms) or 0 in weights:
        warning = (
            f"  warning: the trainer's reward_weights {listed} are not used: name its rewards with them, as in "
            "--reward a,b*0.5"
        )
        return [], [warning]
    named = [{"name": term.name, "weight": weight} for term, weight in zip(terms, weights, strict=True)]
    source = f"{without.sources[_REWARD]}, weights of {NAME}"
    both = ", ".join(f"{term.name}*{weight:g}" for term, weight in zip(terms, weights, strict=True))
    return [Layer(source, {_REWARD: named})], [f"  reward weights of {NAME}, in the order of --reward: {both}"]


def _taken(trainer: TrainerSettings, without: ResolvedConfig, resolved: ResolvedConfig) -> list[str]:
    """What is taken from the trainer's file, what it stands above, and what the user has set otherwise."""
    taken, replaced, other = [], [], []
    for key, words in trainer.names.items():
        shown, source = _shown(resolved, key), resolved.sources.get(key, "a null")
        # What the trainer calls it, where that is not the key's own name.
        own = f" ({words})" if words != shown.partition(".")[2] else ""
        if source == NAME:
            taken.append(shown + own)
            if without.sources.get(key, BUILT_IN) != BUILT_IN and _value(without, key) != _value(resolved, key):
                replaced.append(f"{_shown(without, key)} ({without.sources[key]})")
        elif _value(resolved, key) != trainer.values[key]:
            other.append(f"{words} ({shown} by {source})")
    lines = []
    if taken:
        lines.append(f"  from {NAME}: {'; '.join(taken)}")
    if replaced:
        lines.append(f"  instead of {'; '.join(replaced)}")
    if other:
        lines.append(f"  not from {NAME}: {'; '.join(other)}")
    size = resolved.config.batch_config.B_U
    if trainer.prompts_per_step not in (None, size):
        lines.append(f"  the trainer's step has {trainer.prompts_per_step} prompts; batch_config.B_U is {size}")
    return lines


def _shown(resolved: ResolvedConfig, key: str) -> str:
    value = _value(resolved, key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{key} {value:g}" if is_number else f"{key} {value}"


def _value(resolved: ResolvedConfig, key: str) -> Any:
    section, name, *inside = key.split(".")
    value = getattr(getattr(resolved.config, section), name)
    # A chat template's argument.
    return value.get(inside[0]) if inside else value


def objective_untold(resolved: ResolvedConfig) -> list[str]:
    """The header's line on an objective that neither a trainer's file nor the user gives."""
    if resolved.sources["probe.loss_type"] != BUILT_IN:
        return []
    return [
        f"  objective: {resolved.config.probe.loss_type}, the default, since no {NAME} lies beside the checkpoint: set "
        "the trainer's (docs/checkpoints.md)"
    ]


def bundled_inputs(resolved: ResolvedConfig) -> list[str]:
    """The header's line on prompts or a reward that stand in for those the policy is trained on; none of the user's."""
    prompts = resolved.sources["prompts.source"] == BUILT_IN
    reward = resolved.sources[_REWARD] == BUILT_IN
    if prompts and reward:
        return [
            "  prompts and reward: the bundled word problems and exact_answer, since neither --prompts nor --reward is "
            "given: pass those that the policy is trained on"
        ]
    if prompts:
        return [
            "  prompts: the bundled word problems, since --prompts is not given: pass those that the policy is trained "
            "on"
        ]
    if reward:
        return ["  reward: exact_answer, since --reward is not given: pass the one that the policy is trained on"]
    return []
