"""The computing resources of this process: its threads, and its loaded checkpoints, each loaded once."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_entropy.checkpoints import Checkpoint
    from pytest_entropy.checkpoints.files import CheckpointFiles


@dataclass(frozen=True)
class Machine:
    """Threads and loaded checkpoints of this process.

    Attributes:
        threads: number of CPU threads.
        loaded: checkpoints by files, device and dtype.
    """

    threads: int
    loaded: dict[tuple[CheckpointFiles, str, str], Checkpoint] = field(default_factory=dict)

    def checkpoint(self, files: CheckpointFiles, device: str, dtype: str) -> Checkpoint:
        """The checkpoint, loaded on first use and kept for the process.

        Raises:
            UsageError: the checkpoint cannot be loaded.
        """
        from pytest_entropy.checkpoints.load import load

        key = (files, device, dtype)
        if key not in self.loaded:
            import torch

            # Workers that each use all cores for one operation slow each other down.
            torch.set_num_threads(self.threads)
            self.loaded[key] = load(files, device=device, dtype=dtype)
        return self.loaded[key]


# Another version of these may give other numbers; of numpy, Python and pytest only if the random streams change.
DECISIVE = ("pytest-entropy", "torch", "transformers", "peft")


def environment() -> dict[str, str]:
    """Versions of Python and of the packages on which a result may depend."""
    from importlib.metadata import version

    packages = ("pytest-entropy", "torch", "transformers", "peft", "numpy", "pytest")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def threads_for(requested: int | None, workers: int) -> int:
    """CPU threads of one process: the number requested, else its share of the machine's cores.

    The share is at most ``OMP_NUM_THREADS``, by which a machine that has other work limits a process's threads.

    Args:
        requested: number of threads, None for the share.
        workers: number of processes on this machine.
    """
    if requested:
        return requested
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // max(1, workers))
    # OpenMP takes a list, of which the first number is the outermost level's.
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(share, int(limit)) if limit.isdigit() and int(limit) else share
