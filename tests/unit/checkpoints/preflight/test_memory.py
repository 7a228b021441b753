"""A model whose weights do not fit is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy import load_checkpoint
from pytest_entropy.checkpoints.find import find_checkpoint
from pytest_entropy.checkpoints.model_size import parameters_stored
from pytest_entropy.checkpoints.preflight import memory
from pytest_entropy.errors import UsageError
from tests import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_seed_checkpoint(tmp_path_factory.mktemp("tiny"))


def weights(checkpoint: Path) -> int:
    count = parameters_stored(find_checkpoint(str(checkpoint), None))
    assert count is not None
    return count


@pytest.mark.parametrize(("dtype", "size"), [("float64", 8), ("float32", 4), ("bfloat16", 2)])
def test_the_dtypes_bytes_have_to_be_free(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, size: int
) -> None:
    files = find_checkpoint(str(checkpoint), None)
    for free, fits in ((weights(checkpoint) * size, True), (weights(checkpoint) * size - 1, False)):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        if fits:
            memory.require_room_for_weights(files, dtype)
        else:
            with pytest.raises(UsageError, match=f"in {dtype}, and 0.00 GiB of memory are free: take"):
                memory.require_room_for_weights(files, dtype)


def test_loading_refuses_it_and_says_what_helps(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(UsageError, match="--dtype bfloat16, fewer workers"):
        load_checkpoint(checkpoint)


def test_where_nothing_tells_it_is_loaded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    assert load_checkpoint(checkpoint).policy.trainable
