"""Trainers' files made by hand, as TRL's are: a pickled object whose class has TRL's name, in torch's archive."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles


class GRPOConfig:
    """Stands in for TRL's."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class RLOOConfig(GRPOConfig):
    """Stands in for TRL's."""


class SFTConfig(GRPOConfig):
    """Stands in for TRL's."""


def archived(data: bytes, name: str = "training_args/data.pkl", compression: int = zipfile.ZIP_STORED) -> bytes:
    """The bytes of a ``torch.save`` file with this pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(name, data)
        archive.writestr("training_args/version", b"3\n")
    return stream.getvalue()


def saved(record: Any) -> bytes:
    """The bytes that ``torch.save`` writes for an object without tensors."""
    return archived(pickle.dumps(record, protocol=2))


def files_in(place: Path) -> CheckpointFiles:
    """The files of a checkpoint in one directory; they need not be there."""
    return CheckpointFiles("HF Trainer / TRL", place, place, True, place / "optimizer.pt", None)
