"""Numbers read back from printed text, each with half a unit of its last digit as its tolerance."""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?|-?inf|nan"
# ``(-1.23 ± 0.41)e-05``, ``12.35 ± 0.12``, or a number alone.
MEASURE = rf"\(-?[\d.]+ ± [\d.]+\)e[+-]\d+|(?:{NUMBER}) ± (?:{NUMBER})|(?:{NUMBER})"
# Formatting rounds half to even in binary, so that a number may lie a little beyond half a unit.
SLACK = 1.001


@dataclass(frozen=True)
class Printed:
    """A printed number, and half a unit of its last digit."""

    value: float
    half: float


def number(text: str) -> Printed:
    """The number in ``text``, which holds nothing else.

    >>> number("-0.0253"), number("1.5")
    (Printed(value=-0.0253, half=5.005e-05), Printed(value=1.5, half=0.05005))

    Raises:
        ValueError: ``text`` is no number.
    """
    mantissa, _, power = text.strip().lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    value = float(text)
    return Printed(value, SLACK * 0.5 * 10.0 ** ((int(power) if power else 0) - digits))


def measure(text: str) -> tuple[Printed, Printed | None]:
    """The number and its error in a printed measurement; None without an error.

    >>> measure("(-1.23 ± 0.41)e-05")[0].value, measure("12.35 ± 0.12")[1].value
    (-1.23e-05, 0.12)

    Raises:
        ValueError: ``text`` is no measurement.
    """
    text = text.strip()
    found = re.fullmatch(r"\((?P<value>\S+) ± (?P<se>\S+)\)e(?P<power>[+-]\d+)", text)
    if found:
        return number(f"{found['value']}e{found['power']}"), number(f"{found['se']}e{found['power']}")
    value, _, se = text.partition(" ± ")
    return number(value), number(se) if se else None
