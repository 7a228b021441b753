"""Check before loading what the next step needs: a state for every trained tensor, a learning rate, a fitting dtype."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pytest_entropy.checkpoints.files import CheckpointFiles, read_object
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.metadata import UNREAD, Metadata
from pytest_entropy.errors import UsageError


def require_next_step(files: CheckpointFiles, metadata: Metadata, *, learning_rate: float | None, dtype: str) -> None:
    """Reject a checkpoint whose next step cannot be computed, as far as its files say.

    Args:
        files: paths of the checkpoint.
        metadata: what its optimizer's file says.
        learning_rate: the configured one, None for the checkpoint's.
        dtype: the configured one of the weights.

    Raises:
        UsageError: the dtype is not for this kind of checkpoint, there is no learning rate, the optimizer has not
            taken a step, or it has more or fewer states than the adapter has tensors.
    """
    require_fitting_dtype(files, dtype)
    if metadata.states == 0:
        raise UsageError(
            f"{files.optimizer} holds an optimizer that has not taken a step: it has no moments to precondition with; "
            "give a checkpoint that was saved after a step"
        )
    if learning_rate is None and metadata.learning_rate is None and metadata.learning_rate_source != UNREAD:
        raise UsageError(
            f"checkpoint {files.root}: the checkpoint stores no usable learning rate (a finished schedule leaves 0.0); "
            "say what the next step's rate is with --learning-rate"
        )
    if files.is_adapter and metadata.states is not None:
        _require_state_of_each_tensor(files, metadata.states)


def require_fitting_dtype(files: CheckpointFiles, dtype: str) -> None:
    """Reject bfloat16 for weights that an update moves.

    Args:
        files: paths of the checkpoint.
        dtype: of the weights, as configured.

    Raises:
        UsageError: the dtype is not for a whole model.
    """
    if dtype == "bfloat16" and not files.is_adapter:
        raise UsageError(
            f"checkpoint {files.root}: --dtype bfloat16 is for the frozen base of an adapter; the weights an update "
            "moves must be float32 or float64"
        )


def _require_state_of_each_tensor(files: CheckpointFiles, states: int) -> None:
    """Reject more states than the adapter has tensors, or fewer than it has LoRA matrices, but for kinds of modules."""
    tensors = list(WeightsFile(files.weights))
    matrices = sum("lora_" in key for key in tensors)
    if 0 < states < matrices and matrices - states in _without_some_modules(tensors):
        # Text reaches no adapter of a vision tower, for instance: loading tells.
        return
    # Older versions of peft did not save trained biases.
    most = len(tensors) if read_object(files.weights / "adapter_config.json").get("bias", "none") == "none" else states
    if not matrices <= states <= most:
        raise UsageError(
            f"{files.optimizer} holds {states} states, and adapter {files.weights} has {len(tensors)} tensors, each of "
            "which needs one: is this the optimizer of another model or adapter?"
        )


def _without_some_modules(tensors: Iterable[str]) -> set[int]:
    """The numbers of LoRA matrices of some kinds of modules, each kind in all its layers: any sum of the kinds'."""
    kinds = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", key.partition(".lora_")[0]) for key in tensors if ".lora_" in key)
    sums = {0}
    for count in kinds.values():
        sums |= {total + count for total in sums}
    return sums
