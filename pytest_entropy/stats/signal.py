"""A measurement in words: signal-to-noise labels, and numbers rounded to their standard error."""

from __future__ import annotations

import math
from typing import Literal

Label = Literal["good", "ok", "poor"]


def signal_to_noise(delta: float, se: float | None) -> tuple[float | None, Label]:
    """|SE / delta| and its label: below 0.1 good, below 0.2 ok, else poor (docs/mathematics.md §4).

    >>> signal_to_noise(-0.5, 0.0625), signal_to_noise(0.0, 0.1)
    ((0.125, 'ok'), (None, 'poor'))

    Args:
        delta: the measured value.
        se: its standard error, in the same unit; None where it is unknown.

    Returns:
        The ratio, or None where it is undefined, and the label.
    """
    if se is None or delta == 0 or not math.isfinite(delta) or not math.isfinite(se):
        return None, "poor"
    ratio = abs(se / delta)
    return ratio, "good" if ratio < 0.1 else "ok" if ratio < 0.2 else "poor"


def format_measure(value: float, se: float | None) -> str:
    """``value ± se`` as text, both to the second digit of the standard error.

    >>> format_measure(-0.0000123456, 0.0000041)
    '(-1.23 ± 0.41)e-05'
    >>> format_measure(12.3456, 0.123)
    '12.35 ± 0.12'

    Args:
        value: the measured value.
        se: its standard error, in the same unit; None where it is unknown.
    """
    if se is None or not math.isfinite(se) or se == 0:
        return f"{value:.3g}" if se is None else f"{value:.3g} ± {se:g}"
    largest = max(abs(value), se)
    power = math.floor(math.log10(largest))
    if -3 <= power < 5:
        digits = max(0, 1 - math.floor(math.log10(se)))
        return f"{value:.{digits}f} ± {se:.{digits}f}"
    digits = max(0, min(12, 1 - math.floor(math.log10(se)) + power))
    scale = 10.0**power
    return f"({value / scale:.{digits}f} ± {se / scale:.{digits}f})e{power:+03d}"


def format_error(se: float) -> str:
    """A standard error alone, to its second significant digit, as in :func:`format_measure`.

    >>> format_error(0.001), format_error(12.3), format_error(3.14e-7), format_error(0)
    ('0.0010', '12', '3.1e-07', '0')
    """
    if not math.isfinite(se) or se == 0:
        return f"{se:g}"
    power = math.floor(math.log10(se))
    return f"{se:.{max(0, 1 - power)}f}" if -5 <= power < 5 else f"{se:.1e}"
