"""The checkpoint that tests of measurements share."""

from __future__ import annotations

import pytest

from pytest_entropy.checkpoints import Checkpoint, load_checkpoint
from tests import tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A small real LoRA checkpoint in the seed's layout, loaded."""
    return load_checkpoint(tiny.save_seed_checkpoint(tmp_path_factory.mktemp("checkpoint")))
