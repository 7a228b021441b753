"""TRL's ``chat_template_kwargs``: the chat template's arguments that the trainer gave to every prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.settings.template_arguments import COLUMN, template_arguments

_LONGEST = 200


def take_template_arguments(value: Any, values: dict[str, Any], names: dict[str, str], warnings: list[str]) -> None:
    """Add the arguments to the settings, or a warning of one that no setting can be.

    Args:
        value: the trainer's, a mapping or JSON text of one; a stranger's.
        values: settings by dotted key.
        names: by the same keys, what the trainer calls them.
        warnings: sentences.
    """
    try:
        arguments = template_arguments({} if value is None else value)
    except ValueError as error:
        warnings.append(f"{NAME} has {error}: set --entropy-set prompts.{COLUMN}.NAME=VALUE")
        return
    for name, argument in arguments.items():
        key = f"prompts.{COLUMN}.{name}"
        if isinstance(argument, Mapping) or len(str(argument)) > _LONGEST:
            warnings.append(f"{NAME} has a {COLUMN} {name} that is not read: set it as {key} in the configuration")
            continue
        values[key] = argument
        names[key] = f"{COLUMN}.{name} {argument}"
