"""Write and read the files of a run's directory and of the update's: records with their arrays and tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.records.arrays import StoredArrays
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import ACTION_VALUES, ARRAYS, DIRECTION, RESPONSES, RESULTS, UPDATE_RECORD
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import StoredUpdate, UpdateRecord

if TYPE_CHECKING:
    import torch

    from pytest_entropy.policy.action_values import ControlVariateTables
    from pytest_entropy.policy.rollouts import Rollouts
    from pytest_entropy.probe.update.direction import Update

SCHEMA_VERSION = 1


def write_run(directory: Path, record: RunRecord) -> None:
    """Write a run's arrays, and last its ``results.json``, by which the run counts as stored."""
    if record.arrays:
        import numpy as np

        np.savez_compressed(directory / ARRAYS, **record.arrays)  # type: ignore[arg-type]
    write_json(directory / RESULTS, {"schema_version": SCHEMA_VERSION, **record.to_dict()})


def read_run(directory: Path) -> RunRecord:
    """Read the run in a directory, with its arrays.

    Raises:
        OSError: the directory holds no run, or it cannot be read.
        ValueError: the files are not those of a run.
    """
    try:
        arrays = StoredArrays(_content(directory, ARRAYS))
    except FileNotFoundError:
        arrays = None
    except ValueError as error:
        raise ValueError(f"{directory / ARRAYS}: {error}") from error
    return RunRecord.from_json(_content(directory, RESULTS), arrays, directory=directory.name)


def _content(directory: Path, name: str) -> bytes:
    """The bytes of a file; joining names as texts takes half of the time of joining paths."""
    with open(os.path.join(directory, name), "rb") as stream:
        return stream.read()


def write_update(directory: Path, update: Update, record: StoredUpdate) -> None:
    """Write an update's files into its directory: direction, control variate's tables, responses, last the record."""
    write_tensors(directory / DIRECTION, update.direction)
    if update.control_variate is not None:
        write_tensors(directory / ACTION_VALUES, update.control_variate.tensors())
    if update.rollouts is not None:
        write_tensors(directory / RESPONSES, _as_tensors(update.rollouts))
    write_json(directory / UPDATE_RECORD, record.to_dict())


def _as_tensors(rollouts: Rollouts) -> dict[str, torch.Tensor]:
    """Responses by column, and the prompts' tokens, one after the other, with their lengths."""
    import torch

    from pytest_entropy.policy.rollouts import COLUMNS

    ids = [token for prompt in rollouts.prompt_ids for token in prompt]
    columns = {name: getattr(rollouts, name).cpu() for name in COLUMNS}
    return {
        **columns,
        "prompt_ids": torch.tensor(ids),
        "prompt_lengths": torch.tensor([*map(len, rollouts.prompt_ids)]),
    }


def _from_tensors(tensors: Mapping[str, torch.Tensor]) -> Rollouts:
    from pytest_entropy.policy.rollouts import COLUMNS, Rollouts

    prompts = tensors["prompt_ids"].split(tensors["prompt_lengths"].tolist())
    columns: dict[str, Any] = {name: tensors[name] for name in COLUMNS}
    return Rollouts(prompt_ids=tuple(tuple(ids.tolist()) for ids in prompts), **columns)


def read_update(directory: Path) -> Update:
    """Read the update in a directory, without its gradient, which a run does not need.

    Raises:
        OSError: the directory holds no update.
        ValueError: the files are not those of an update.
    """
    from safetensors.torch import load_file

    from pytest_entropy.probe.update.direction import Update

    record = UpdateRecord.from_dict(read_json(directory / UPDATE_RECORD))
    values = directory / ACTION_VALUES
    control_variate = _tables(values) if values.is_file() else None
    responses = directory / RESPONSES
    return Update(
        **vars(record), direction=load_file(directory / DIRECTION), gradient={}, control_variate=control_variate,
        rollouts=_from_tensors(load_file(responses)) if responses.is_file() else None,
    )  # fmt: skip


def _tables(path: Path) -> ControlVariateTables:
    from safetensors.torch import load_file

    from pytest_entropy.policy.action_values import ControlVariateTables

    try:
        return ControlVariateTables(**load_file(path))
    except TypeError as error:
        raise ValueError(
            f"{path} holds other tables than this version of pytest-entropy reads: measure again without --resume"
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name into a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
