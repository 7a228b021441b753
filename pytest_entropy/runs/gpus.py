"""Assign one of the caller's GPUs to each xdist worker, before CUDA starts.

CUDA reads ``CUDA_VISIBLE_DEVICES`` once, so the GPU is chosen at configure time (for ``--device``), or when the
first plan is made (for a device that only a YAML file names).  This module imports no torch and starts no CUDA.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: MutableMapping[str, str] | None = None, nodes: Path = Path("/dev")) -> list[str]:
    """Names of the GPUs this process may use, as CUDA reads them: indices, ``GPU-...`` or ``MIG-...``.

    They are those of ``CUDA_VISIBLE_DEVICES`` where it is set (CUDA stops reading at the first invalid entry, such as
    -1; an empty value hides all GPUs), else one index for each of the driver's device nodes.

    Args:
        environment: environment variables; those of the process by default.
        nodes: directory of device nodes.
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
    """Restrict an xdist worker that uses ``cuda`` to one of the caller's GPUs, by ``CUDA_VISIBLE_DEVICES``.

    Worker ``gwN`` gets GPU number N modulo their count, so that workers share the GPUs evenly.  Nothing changes for
    another device, for ``cuda:N`` (which names a GPU), outside a worker, or where no GPU is visible:
    :func:`~pytest_entropy.checkpoints.preflight.device.require_device` then reports that.

    Args:
        device: as configured, None if not given.
        worker: name of the xdist worker, None outside one.
        environment: environment variables to read and change; those of the process by default.
        nodes: directory of device nodes.
    """
    number = re.fullmatch(r"gw(\d+)", worker or "")
    if device != "cuda" or number is None:
        return
    environment = os.environ if environment is None else environment
    names = visible_gpus(environment, nodes)
    if names:
        environment[VISIBLE] = names[int(number[1]) % len(names)]
