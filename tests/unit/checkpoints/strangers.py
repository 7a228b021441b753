"""Checkpoints to spoil, a payload that would leave a trace, and the expectation that a checkpoint is refused."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.errors import UsageError
from tests import tiny


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Where a payload would write; checked after the test."""
    place = tmp_path / "canary"
    # The payload itself works: otherwise its absence says nothing.
    pickle.loads(pickle.dumps(Payload(place)))
    assert place.exists()
    place.unlink()
    yield place
    assert not place.exists(), "code from the checkpoint ran"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to spoil: ``run/base`` and ``run/step_3``."""
    shutil.copytree(checkpoint.parent, tmp_path / "run", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path / "run" / checkpoint.name


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A whole model to spoil."""
    words = tiny.tokenizer()
    model = tiny.qwen2(len(words), eos_token_id=words.eos_token_id)
    optimizer = tiny.trained_step(model, model.parameters())
    place = tmp_path / "full"
    model.save_pretrained(place)
    words.save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    return place


def refused(place: Path, message: str, *, early: bool = True) -> str:
    """The checkpoint is refused with this message, and quickly as far as memory goes; early: before it is loaded."""
    if early:
        with pytest.raises(UsageError, match=message):
            screen(find_checkpoint(place))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=message) as raised:
        load_checkpoint(place)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024, "kB of memory at the peak"
    assert len(str(raised.value)) < 2000
    return str(raised.value)
