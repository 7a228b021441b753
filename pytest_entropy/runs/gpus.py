"""Which GPU an xdist worker computes on: one of its caller's, chosen before CUDA starts.

CUDA reads ``CUDA_VISIBLE_DEVICES`` once, so the choice is made at configure time (for ``--device``), or when the
first plan is made (for a device that only a YAML file names).  Nothing here imports torch or starts CUDA.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: MutableMapping[str, str] | None = None, nodes: Path = Path("/dev")) -> list[str]:
    """Names of the GPUs this process may use, as CUDA takes them: indices, ``GPU-...`` or ``MIG-...``.

    From the caller's ``CUDA_VISIBLE_DEVICES`` where it is set (CUDA stops reading at the first entry that is
    none, such as -1; an empty value hides all), else one index for each GPU the driver shows under ``nodes``.
    """
    environment = os.environ if environment is None else environment
    if VISIBLE not in environment:
        return [str(i) for i in range(sum(bool(re.fullmatch(r"nvidia\d+", p.name)) for p in nodes.glob("nvidia*")))]
    names: list[str] = []
    for entry in environment[VISIBLE].split(","):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", entry.strip()):
            break
        names.append(entry.strip())
    return names


def assign_gpu(
    device: str | None,
    worker: str | None,
    environment: MutableMapping[str, str] | None = None,
    nodes: Path = Path("/dev"),
) -> None:
    """Leave an xdist worker that was asked for ``cuda`` a single GPU of the caller's.

    Worker ``gwN`` gets number N modulo their count, so that more workers than GPUs share them evenly.  Nothing
    changes for another device, for ``cuda:N`` (which names one), outside a worker, or where no GPU is to be seen:
    :func:`~pytest_entropy.checkpoints.preflight.device.require_device` then says so.
    """
    number = re.fullmatch(r"gw(\d+)", worker or "")
    if device != "cuda" or number is None:
        return
    environment = os.environ if environment is None else environment
    names = visible_gpus(environment, nodes)
    if names:
        environment[VISIBLE] = names[int(number[1]) % len(names)]
