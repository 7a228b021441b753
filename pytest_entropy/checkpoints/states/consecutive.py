"""The checkpoint one optimizer step before, beside a loaded one: found by its number, used to prove the mapping."""

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
    """Prove the mapping from the neighbour one step before, or say why not.

    Args:
        files: the checkpoint.
        keys: live parameter name to key in the weights file.
        states: the optimizer's states by live name.

    Raises:
        Contradiction: by the neighbour, some states belong to other parameters; all are named.
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
        # The directories do not count the optimizer's steps: ask the neighbour's own optimizer.
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
    """Where the weights of an earlier checkpoint are, given that it is arranged like the later one.

    Raises:
        UsageError: no safetensors there.
    """
    inside = after.weights.relative_to(after.root)
    for place in (Path(before).expanduser() / inside, Path(before).expanduser()):
        if has_adapter(place) if after.is_adapter else has_weights(place):
            return place
    kind = "an adapter" if after.is_adapter else "a whole model"
    raise UsageError(f"checkpoint {before} does not hold {kind} as {after.root} does")
