"""Parsers of command line values; argparse reports their errors with the option's name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pytest_entropy.settings.target_error import target_error

# The value of ``--entropy-compare`` without a name, and with an empty one: the newest baseline.
NEWEST = ""


def positive(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are at least ``least``.

    Raises:
        argparse.ArgumentTypeError: by the parser, for any other text.
    """

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is too small, at least {least} is needed")
        return number

    return parse


def be_values(text: str) -> list[int]:
    """Parse ``16,32,64`` as a list of B_E; each is at least 2, as a standard error needs two prompts.

    Raises:
        argparse.ArgumentTypeError: the text is not such a list, or repeats a B_E.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give B_E values such as 16,32,64")
    values = [positive(2)(part.strip()) for part in text.split(",")]
    if len(set(values)) != len(values):
        raise argparse.ArgumentTypeError(f"{text}: the same B_E appears twice; use --runs for repetitions")
    return values


def positive_number(text: str) -> float:
    """Parse a positive, finite number.

    Raises:
        argparse.ArgumentTypeError: the text is not one.
    """
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be positive and finite")
    return number


def error_target(text: str) -> str:
    """Parse a standard error to reach: a positive number, or a share such as ``10%``.

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    try:
        return str(target_error(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def probability(text: str) -> float:
    """Parse a number strictly between 0 and 1.

    Raises:
        argparse.ArgumentTypeError: the text is not one.
    """
    number = positive_number(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie between 0 and 1")
    return number


def text_value(text: str) -> str:
    """The text itself, if it is not blank.

    Raises:
        argparse.ArgumentTypeError: it is blank.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def name_or_newest(text: str) -> str:
    """The text itself, or :data:`NEWEST` if it is blank."""
    return text if text.strip() else NEWEST


def key_value(text: str) -> tuple[str, Any]:
    """Parse ``section.key=value`` as key and value, the value as YAML.

    Raises:
        argparse.ArgumentTypeError: the text has no key, no ``=`` or no valid YAML value.
    """
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as batch_config.G=4")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML: {error}") from None
