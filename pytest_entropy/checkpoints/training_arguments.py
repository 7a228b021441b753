"""``training_args.bin``: the arguments that transformers' Trainer and TRL save beside a checkpoint.

The file is a pickle by a stranger, maybe.  It is read as data: nothing that it names is imported or called, and no more
bytes than such a file takes are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.formats.safe_unpickler import UnpickledObject, unpickle
from pytest_entropy.checkpoints.formats.torch_archive import pickle_of_archive
from pytest_entropy.errors import UsageError

NAME = "training_args.bin"
# Real ones have 5 to 20 kB.
_LARGEST = 2**20
_CARD = 64 * 2**10


@dataclass(frozen=True)
class TrainingArguments:
    """The arguments in a trainer's file, or why it cannot be read.

    Attributes:
        path: the file.
        class_name: the class of the arguments, such as ``trl.trainer.grpo_config.GRPOConfig``.
        values: the arguments by name; objects among them are stand-ins.
        problem: why the file cannot be read, in words; empty where it can.
        trl_version: of TRL, as the model card in the run's directory says; empty where none does.
    """

    path: Path
    class_name: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    trl_version: str = ""


def read_training_arguments(files: CheckpointFiles) -> TrainingArguments | None:
    """The arguments of the trainer that wrote a checkpoint, None where it left no such file."""
    places = (files.root / NAME, files.weights / NAME)
    path = next((place for place in places if place.exists() or place.is_symlink()), None)
    if path is None:
        return None
    try:
        record = unpickle(pickle_of_archive(NAME, _read_small(path)), _stand_in)
    except UsageError as error:
        return TrainingArguments(path, problem=str(error), trl_version=_trl_version(files.root))
    # A damaged pickle may raise any kind of exception.
    except Exception as error:
        reason = f"{NAME} is damaged, or no file by a trainer: {str(error)[:120] or type(error).__name__}"
        return TrainingArguments(path, problem=reason, trl_version=_trl_version(files.root))
    if not isinstance(record, UnpickledObject) or not isinstance(record.attributes, dict):
        problem = f"{NAME} holds no trainer's arguments"
        return TrainingArguments(path, problem=problem, trl_version=_trl_version(files.root))
    values = {name: value for name, value in record.attributes.items() if isinstance(name, str)}
    return TrainingArguments(path, record.class_name, values)


def _read_small(path: Path) -> bytes:
    try:
        # Opening a pipe could wait for ever.
        if not path.is_file():
            raise UsageError(f"{NAME} is no file")
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{NAME} cannot be opened: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise UsageError(f"{NAME} has more than the {_LARGEST} bytes that a trainer's arguments could take")
    return data


def _stand_in(module: str, name: str) -> Any:
    return dict if (module, name) == ("collections", "OrderedDict") else UnpickledObject


def _trl_version(root: Path) -> str:
    """TRL's version in the model card that it writes beside the checkpoints."""
    for card in (root / "README.md", root.parent / "README.md"):
        try:
            if card.is_file():
                with card.open("rb") as stream:
                    found = re.search(rb"^- TRL: (\d{1,4}\.\d{1,4}[\w.]{0,20})\s*$", stream.read(_CARD), re.MULTILINE)
                if found:
                    return found[1].decode("ascii", "replace")
        except OSError:
            continue
    return ""
