"""How the values of command line options are read; a wrong one is argparse's error, with the option's name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def positive(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are at least ``least``."""

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
    """``16,32,64`` as a list; every B_E needs two prompts for a standard error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give B_E values such as 16,32,64")
    values = [positive(2)(part.strip()) for part in text.split(",")]
    if len(set(values)) != len(values):
        raise argparse.ArgumentTypeError(f"{text}: the same B_E appears twice; use --runs for repetitions")
    return values


def positive_number(text: str) -> float:
    """A positive, finite number."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be positive and finite")
    return number


def probability(text: str) -> float:
    """A number strictly between 0 and 1."""
    number = positive_number(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie between 0 and 1")
    return number


def text_value(text: str) -> str:
    """Text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def key_value(text: str) -> tuple[str, Any]:
    """``section.key=value`` with the value read as YAML."""
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as batch_config.G=4")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML: {error}") from None
