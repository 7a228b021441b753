"""From a trainer's arguments to the settings of the same meaning, and what of its objective has no such setting.

TRL's GRPOConfig and RLOOConfig are read; arguments of other trainers (SFT, DPO, …) set nothing, as their loss is no
policy gradient.  docs/checkpoints.md lists the names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_entropy.checkpoints.template_settings import take_template_arguments
from pytest_entropy.checkpoints.training_arguments import NAME, TrainingArguments
from pytest_entropy.checkpoints.untold_objective import left_out
from pytest_entropy.settings.fields import LARGEST
from pytest_entropy.settings.objectives import OBJECTIVES
from pytest_entropy.settings.template_arguments import COLUMN

# Of numbers: TRL's argument -> (key, whole numbers from here on, or None for any positive number).
_NUMBERS: dict[str, tuple[str, int | None]] = {
    "temperature": ("sampling.temperature", None),
    "num_generations": ("batch_config.G", 2),
    "max_completion_length": ("sampling.max_new_tokens", 1),
    "max_grad_norm": ("probe.max_grad_norm", None),
}
KEYS = {
    "loss_type": "probe.loss_type",
    "scale_rewards": "probe.scale_rewards",
    **{name: key for name, (key, _) in _NUMBERS.items()},
}
# Kept in config.yaml for the reader; in the first minibatch after sampling they change nothing.
_RECORDED = (
    "beta", "epsilon", "epsilon_high", "importance_sampling_level", "mask_truncated_completions", "num_iterations",
    "reward_weights", "steps_per_generation",
)  # fmt: skip
# TRL's argument -> its default, and former ones by the first version without them.
_DEFAULTS: dict[str, tuple[str, tuple[tuple[tuple[int, int], str], ...]]] = {
    "loss_type": ("dapo", (((0, 16), "grpo"), ((0, 22), "bnpo"))),
    "scale_rewards": ("group", ()),
    "temperature": ("1.0", (((0, 18), "0.9"),)),
    "num_generations": ("8", ()),
    "max_completion_length": ("512", (((1, 10), "256"),)),
    "max_grad_norm": ("1.0", ()),
}


@dataclass(frozen=True)
class TrainerSettings:
    """What a trainer's file says of the next step.

    Attributes:
        values: settings by dotted key.
        names: by the same keys, what the trainer calls these settings and their values, in words.
        reward_weights: of the reward functions in the trainer's order; empty where it gave none.
        prompts_per_step: prompts of one optimizer step of all processes; None where the file does not say.
        recorded: further arguments, for the reader.
        warnings: what could not be read or is not part of the probe's update, a sentence each.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    reward_weights: tuple[float, ...] = ()
    prompts_per_step: int | None = None
    recorded: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def trainer_settings(arguments: TrainingArguments) -> TrainerSettings:
    """The settings that a trainer's arguments stand for; none where they are not of a policy gradient's trainer."""
    if arguments.problem:
        return TrainerSettings(warnings=(_unreadable(arguments),))
    given = {name: _plain(value) for name, value in arguments.values.items()}
    kind = _kind(arguments.class_name, given)
    if kind is None:
        return TrainerSettings()
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    warnings: list[str] = []
    _take_objective(kind, given, values, names, warnings)
    _take_numbers(given, values, names, warnings)
    take_template_arguments(given.get(COLUMN), values, names, warnings)
    weights = given.get("reward_weights")
    if isinstance(weights, list) and all(_is_number(weight) for weight in weights):
        weights = tuple(float(weight) for weight in weights)
    recorded = {name: given[name] for name in _RECORDED if _is_readable(given.get(name))}
    warnings += left_out(given)
    return TrainerSettings(
        values, names, weights if isinstance(weights, tuple) else (), _prompts_per_step(given), recorded,
        tuple(warnings),
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """An enumeration's member as the text or number that it was made of; other values as they are."""
    arguments = getattr(value, "arguments", None)
    return arguments[0] if isinstance(arguments, tuple) and len(arguments) == 1 else value


def _kind(class_name: str, given: Mapping[str, Any]) -> str | None:
    """``grpo`` or ``rloo``, None for another trainer's arguments, whose ``loss_type`` may mean something else."""
    if "num_generations" not in given:
        return None
    if "RLOO" in class_name:
        return "rloo"
    # A subclass by somebody else may have any name.
    return "grpo" if "GRPO" in class_name or {"loss_type", "scale_rewards"} <= set(given) else None


def _take_numbers(given: Mapping[str, Any], values: dict[str, Any], names: dict[str, str], warnings: list[str]) -> None:
    """Add the numbers to the settings, or a warning of one that no setting can be."""
    for name, (key, least) in _NUMBERS.items():
        value = given.get(name)
        # No clipping is None here; older versions of the trainer lack some arguments.
        if value is None or (name == "max_grad_norm" and _is_number(value) and value == 0):
            continue
        usable = _is_number(value) and (value > 0 if least is None else type(value) is int and value >= least)
        if not usable or value > LARGEST:
            warnings.append(f"{NAME} has {name} {_short(value)}, which {key} cannot be: set --entropy-set {key}=…")
            continue
        values[key] = float(value) if least is None else value
        names[key] = f"{name} {value:g}"


def _take_objective(
    kind: str, given: Mapping[str, Any], values: dict[str, Any], names: dict[str, str], warnings: list[str]
) -> None:
    """Add the objective and the scaling of rewards to the settings, or a warning."""
    if kind == "rloo":
        values["probe.loss_type"], names["probe.loss_type"] = "rloo", "RLOOTrainer"
        return
    loss, level = given.get("loss_type"), given.get("importance_sampling_level")
    if "loss_type" not in given:
        warnings.append(
            f"{NAME} has no loss_type, as before TRL 0.17, whose loss was bnpo in 0.16 and grpo before: set "
            "--entropy-set probe.loss_type=bnpo or grpo"
        )
    elif isinstance(loss, str) and loss in OBJECTIVES:
        # The name of GRPO with one ratio per sequence; in the first minibatch the level changes no gradient.
        values["probe.loss_type"] = "gspo" if (loss, level) == ("grpo", "sequence") else loss
        names["probe.loss_type"] = f"loss_type {loss}" + (f", {level} level" if level == "sequence" else "")
    else:
        warnings.append(
            f"{NAME} has loss_type {_short(loss)}, which is not implemented: set --entropy-set probe.loss_type=… to "
            f"the nearest of {', '.join(OBJECTIVES)}"
        )
    scaling = given.get("scale_rewards", "group")
    scaling = {True: "group", False: "none"}[scaling] if isinstance(scaling, bool) else scaling
    if isinstance(scaling, str) and scaling in ("group", "batch", "none"):
        values["probe.scale_rewards"], names["probe.scale_rewards"] = scaling, f"scale_rewards {scaling}"
    else:
        warnings.append(
            f"{NAME} has scale_rewards {_short(scaling)}, which is not known: set --entropy-set probe.scale_rewards=…"
        )


def _prompts_per_step(given: Mapping[str, Any]) -> int | None:
    processes = getattr(given.get("distributed_state"), "num_processes", None)
    values = [processes, *map(given.get, ("per_device_train_batch_size", "gradient_accumulation_steps"))]
    values.append(given.get("num_generations"))
    sizes = [value for value in values if type(value) is int and 0 < value <= LARGEST]
    if len(sizes) < len(values):
        return None
    group = sizes.pop()
    prompts, rest = divmod(math.prod(sizes), group)
    return None if rest else prompts


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf


def _is_readable(value: Any) -> bool:
    """Whether a value may be written into config.yaml: a number, a short text, or a short list of numbers."""
    if isinstance(value, list):
        return len(value) <= 100 and all(_is_number(entry) for entry in value)
    return isinstance(value, bool) or _is_number(value) or (isinstance(value, str) and len(value) <= 100)


def _short(value: Any) -> str:
    """A value of a stranger's file in a message."""
    return repr(value)[:60] if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _unreadable(arguments: TrainingArguments) -> str:
    version = arguments.trl_version
    numbers = re.match(r"(\d+)\.(\d+)", version)
    at = (int(numbers[1]), int(numbers[2])) if numbers else None
    defaults = ", ".join(f"{name} {_default(name, at)}" for name in KEYS)
    trl = f"TRL {version}" if version else "TRL"
    return (
        f"{arguments.problem}; so the trainer's {', '.join(KEYS)} are not known. {trl} has these defaults: {defaults}; "
        "set those of your run, as in --entropy-set "
        f"{KEYS['loss_type']}={_default('loss_type', at or (99, 0))} (docs/checkpoints.md)"
    )


def _default(name: str, version: tuple[int, int] | None) -> str:
    """TRL's default, of one version, or of all with the versions they ended with."""
    latest, former = _DEFAULTS[name]
    if version is not None:
        return next((value for first_without, value in former if version < first_without), latest)
    ended = ", ".join(f"{value} before {major}.{minor}" for (major, minor), value in reversed(former))
    return f"{latest} ({ended})" if ended else latest
