"""Refuse, before anything is loaded, a model whose weights alone do not fit into memory."""

from __future__ import annotations

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.model_size import parameters_stored
from pytest_entropy.errors import UsageError
from pytest_entropy.records.free_memory import free_bytes

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
GIB = 2**30


def require_room_for_weights(files: CheckpointFiles, dtype: str) -> None:
    """Reject a model whose weights take more memory than this process may still take.

    A model for a GPU is loaded into the machine's memory first.

    Args:
        files: the checkpoint's files; their headers say how many parameters there are.
        dtype: that the weights are loaded in.

    Raises:
        UsageError: the weights do not fit; the message names both sizes, and what helps.
    """
    count, free = parameters_stored(files), free_bytes()
    if count is None or free is None or count * BYTES[dtype] <= free:
        return
    narrower = "--dtype bfloat16, " if files.is_adapter and dtype != "bfloat16" else ""
    raise UsageError(
        f"checkpoint {files.root}: its model's {count / 1e9:.2f} billion weights take {count * BYTES[dtype] / GIB:.2f} "
        f"GiB in {dtype}, and {free / GIB:.2f} GiB of memory are free: take {narrower}fewer workers (-n), "
        "or a machine with more memory"
    )
