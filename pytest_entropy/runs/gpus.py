"""Assign one of the caller's GPUs to each xdist worker or launched process, before CUDA starts.

CUDA reads ``CUDA_VISIBLE_DEVICES`` once, so the GPU is chosen at configure time (for ``--device``), or when the
first plan is made (for a device that only a YAML file names).  This module imports no torch and starts no CUDA.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
# The number of a process on its machine: set by torchrun and accelerate, under SLURM from SLURM_LOCALID (docs/ci.md).
LOCAL_RANK = "LOCAL_RANK"


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
    """Restrict a worker that uses ``cuda`` to one of the caller's GPUs, by ``CUDA_VISIBLE_DEVICES``.

    Process number N gets GPU N modulo their count, so that processes share the GPUs evenly.  Nothing changes for
    another device, for ``cuda:N`` (which names a GPU), in a process without a number, or where no GPU is visible:
    :func:`~pytest_entropy.checkpoints.preflight.device.require_device` then reports that.

    Args:
        device: as configured, None if not given.
        worker: name of the xdist worker, None outside one.
        environment: environment variables to read and change; those of the process by default.
        nodes: directory of device nodes.
    """
    environment = os.environ if environment is None else environment
    number = process_number(worker, environment)
    if device != "cuda" or number is None:
        return
    names = visible_gpus(environment, nodes)
    if names:
        environment[VISIBLE] = names[number % len(names)]


def process_number(worker: str | None, environment: MutableMapping[str, str] | None = None) -> int | None:
    """The number of this process among those that share the machine; None where it is the only one.

    It is N of an xdist worker ``gwN``, else ``LOCAL_RANK``.  The workers of a launched session share the GPU of its
    rank: it was restricted to that before they started.

    Args:
        worker: name of the xdist worker, None outside one.
        environment: environment variables; those of the process by default.
    """
    environment = os.environ if environment is None else environment
    for name, pattern in ((worker or "", r"gw(\d+)"), (environment.get(LOCAL_RANK, ""), r"(\d+)")):
        found = re.fullmatch(pattern, name, re.ASCII)
        if found is not None:
            return int(found[1])
    return None
