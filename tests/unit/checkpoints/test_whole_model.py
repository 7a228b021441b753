"""Where a whole model's files lie, and what is read of its ``config.json``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.whole_model import model_config, model_directory
from pytest_entropy.errors import UsageError


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    for name in ("model", "base"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"model_type": "{name}"}}')
    return CheckpointFiles("trainer", tmp_path, tmp_path / "model", False, tmp_path / "optimizer.pt", None)


def test_the_model_is_the_checkpoint_s_own_or_its_base(files: CheckpointFiles, tmp_path: Path) -> None:
    assert (model_directory(files), model_config(files)) == (tmp_path / "model", {"model_type": "model"})
    adapter = replace(files, is_adapter=True, base=str(tmp_path / "base"))
    assert (model_directory(adapter), model_config(adapter)) == (tmp_path / "base", {"model_type": "base"})


def test_of_a_model_that_is_not_here_nothing_is_read(files: CheckpointFiles, tmp_path: Path) -> None:
    adapter = replace(files, is_adapter=True, base="nobody/nothing-of-this-name")
    assert (model_directory(adapter), model_config(adapter)) == (None, {})
    (tmp_path / "model" / "config.json").unlink()
    assert (model_directory(files), model_config(files)) == (tmp_path / "model", {})


def test_a_damaged_file_is_told(files: CheckpointFiles, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="holds list, expected an object"):
        model_config(files)
