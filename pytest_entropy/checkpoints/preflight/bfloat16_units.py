"""Warn where bfloat16 was asked for on a CPU without units for it: each product is then converted, and slow."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
UNITS = {"avx512_bf16", "amx_bf16", "bf16"}

log = logging.getLogger(__name__)


def lacks_bfloat16(cpu_info: str) -> bool:
    """Whether a processor's description lists what it can do, and bfloat16 products are not among it.

    Args:
        cpu_info: the content of Linux' ``/proc/cpuinfo``; x86 lists ``flags``, ARM ``Features``.
    """
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", cpu_info, re.MULTILINE)
    return listed is not None and not UNITS & set(listed[1].split())


def warn_of_slow_bfloat16(device: str, dtype: str) -> None:
    """Log a warning, once in a process, if bfloat16 runs on a CPU that says it has no units for it.

    Args:
        device: as configured.
        dtype: of the weights, as configured.
    """
    if device == "cpu" and dtype == "bfloat16":
        _warn_once(CPU_INFO)


@cache
def _warn_once(cpu_info: Path) -> None:
    try:
        lacking = lacks_bfloat16(cpu_info.read_text())
    except (OSError, UnicodeDecodeError):
        return  # No such file on other systems: then nothing is known.
    if lacking:
        log.warning(
            "--dtype bfloat16 on a CPU without bfloat16 units (neither avx512_bf16 nor amx_bf16 nor ARM's bf16): "
            "products are several times slower than in float32, and less exact; take --dtype float32"
        )
