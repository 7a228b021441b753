"""The number of parameters in the headers of weights' files, whole or sharded, without reading a tensor."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.checkpoints import DEMO, find_checkpoint, load_checkpoint, resolve
from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.model_size import parameters_stored
from tests import tiny
from tests.fresh_process import succeeds


def hollow(file: Path, shapes: dict[str, list[int]]) -> None:
    """A weights' file of these tensors in bfloat16 whose bytes were never written: it takes no room on the disk."""
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [end, end + 2 * rows * columns]}
        end += 2 * rows * columns
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)


@pytest.fixture
def whole(tmp_path: Path) -> CheckpointFiles:
    (tmp_path / "model").mkdir()
    return CheckpointFiles("trainer", tmp_path, tmp_path / "model", False, tmp_path / "optimizer.pt", None)


def test_an_adapter_s_base_is_counted() -> None:
    files = find_checkpoint(resolve(DEMO))
    policy = load_checkpoint("demo").policy
    frozen = sum(p.numel() for name, p in policy.model.named_parameters() if "lora_" not in name)
    assert files.is_adapter
    assert parameters_stored(files) == frozen


def test_a_whole_model_is_counted_once_for_tied_weights(whole: CheckpointFiles) -> None:
    model = tiny.qwen2(60)
    model.save_pretrained(whole.weights)
    assert parameters_stored(whole) == sum(p.numel() for p in model.parameters())


def test_shards_are_added_up_and_take_no_memory(whole: CheckpointFiles) -> None:
    shapes = {"model.embed.weight": [151_936, 2048], "model.layers.0.weight": [500_000, 2048]}
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, (key, shape) in zip(names, shapes.items(), strict=True):
        hollow(whole.weights / name, {key: shape})
    index = {"weight_map": dict(zip(shapes, names, strict=True))}
    (whole.weights / "model.safetensors.index.json").write_text(json.dumps(index))
    assert parameters_stored(whole) == 651_936 * 2048 > 1e9


def test_where_no_file_says_the_size_is_not_known(whole: CheckpointFiles) -> None:
    assert parameters_stored(whole) is None
    (whole.weights / "model.safetensors").write_bytes(b"no header")
    assert parameters_stored(whole) is None
    assert parameters_stored(replace(whole, base="nobody/nothing-of-this-name", is_adapter=True)) is None


def test_a_base_in_the_hub_s_cache_is_found(
    whole: CheckpointFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    kept = tmp_path / "hub" / "models--some--base"
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    hollow(kept / "snapshots" / "abc" / "model.safetensors", {"w": [300, 20]})
    assert parameters_stored(replace(whole, base="some/base", is_adapter=True)) == 6000


def test_counting_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from pytest_entropy.checkpoints import find_checkpoint, resolve\n"
        "from pytest_entropy.checkpoints.model_size import parameters_stored\n"
        "assert parameters_stored(find_checkpoint(resolve('demo'))) > 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    succeeds(code)
