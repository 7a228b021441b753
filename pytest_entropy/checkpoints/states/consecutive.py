"""Find the checkpoint one optimizer step before a loaded one, by its number, and prove the mapping from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pytest_entropy.checkpoints.files import CheckpointFiles, has_adapter, has_weights
from pytest_entropy.checkpoints.states.mapping_proof import Contradiction, MappingProof, not_proved, prove
from pytest_entropy.checkpoints.states.optimizer_file import steps_taken
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.state import AdamWState


def prove_beside(files: CheckpointFiles, keys: Mapping[str, str], states: AdamWState) -> MappingProof:
    """Prove the mapping of optimizer states from the checkpoint one step before, or say why it cannot be proved.

    Args:
        files: paths of the checkpoint.
        keys: live parameter name to key in the weights file.
        states: AdamW's state by live name.

    Raises:
        Contradiction: some states belong to other parameters; the message names all of them.
    """
    root = files.root.resolve()
    number = re.fullmatch(r"(.*?)(\d+)", root.name)
    if number is None or int(number[2]) < 1:
        return not_proved(f"{root.name} has no number, so no checkpoint is one step before it")
    previous = root.parent / f"{number[1]}{int(number[2]) - 1:0{len(number[2])}d}"
    if not previous.is_dir():
        previous = root.parent / f"{number[1]}{int(number[2]) - 1}"
    if not previous.is_dir():
        return not_proved(f"there is no {previous.name} beside {root.name}")
    step = next(iter(states.values())).step
    if int(number[2]) != step:
        # The directories' numbers are not optimizer steps: the earlier optimizer's file has the count.
        try:
            before = steps_taken(previous / files.optimizer.relative_to(files.root), tensors=8 * len(states))
        except UsageError:
            return not_proved(f"{previous.name} does not say which optimizer step it is")
        if before != step - 1:
            return not_proved(f"{previous.name} is at optimizer step {before}, this one at {step}")
    try:
        return prove(weights_of(previous, files), files.weights, keys, states, names=(previous.name, str(files.root)))
    except Contradiction:
        raise
    except UsageError as error:
        return not_proved(str(error), previous.name)


def weights_of(before: str | Path, after: CheckpointFiles) -> Path:
    """The directory of an earlier checkpoint's weights, arranged like those of the later checkpoint.

    Args:
        before: directory of the earlier checkpoint.
        after: paths of the later checkpoint.

    Raises:
        UsageError: the earlier checkpoint holds no safetensors of the same kind.
    """
    inside = after.weights.relative_to(after.root)
    for place in (Path(before).expanduser() / inside, Path(before).expanduser()):
        if has_adapter(place) if after.is_adapter else has_weights(place):
            return place
    kind = "an adapter" if after.is_adapter else "a whole model"
    raise UsageError(f"checkpoint {before} does not hold {kind} as {after.root} does")
