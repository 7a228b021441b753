"""A run is read from its directory with one look at each file, and damage is found whether or not it is asked for."""

from __future__ import annotations

import builtins
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.paths import ACTION_VALUES
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import StoredUpdate
from pytest_entropy.runs.run_files import read_run, read_update, write_run, write_update
from tests import tiny
from tests.unit.reports.stored import result


@pytest.fixture
def run() -> RunRecord:
    return replace(result(4, 2, np.arange(4.0)), arrays={"ranks": np.arange(8).reshape(4, 2), "sd": np.ones(4)})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many times each file was opened, by name."""
    counted: Counter[str] = Counter()
    real = builtins.open

    def counting(file: Any, *args: Any, **more: Any) -> Any:
        counted[Path(str(file)).name] += 1
        return real(file, *args, **more)

    monkeypatch.setattr(builtins, "open", counting)
    return counted


def test_a_run_is_read_as_it_was_written_with_one_look_at_each_file(
    run: RunRecord, tmp_path: Path, opened: Counter[str]
) -> None:
    write_run(tmp_path, run)
    opened.clear()
    found = read_run(tmp_path)
    assert found == run
    assert {name: array.tolist() for name, array in found.arrays.items()} == {
        name: array.tolist() for name, array in run.arrays.items()
    }
    assert found.directory == tmp_path.name
    assert opened == {"results.json": 1, "arrays.npz": 1}


def test_arrays_are_decoded_for_those_who_ask(run: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, run)
    decoding = Mock(wraps=np.load)
    monkeypatch.setattr(np, "load", decoding)
    found = read_run(tmp_path)
    assert found.delta_h1 == run.delta_h1
    assert decoding.call_count == 0
    assert found.arrays["sd"].tolist() == [1.0] * 4
    assert decoding.call_count == 1


def test_damaged_arrays_are_an_error_although_nobody_asks(run: RunRecord, tmp_path: Path) -> None:
    write_run(tmp_path, run)
    file = tmp_path / "arrays.npz"
    content = bytearray(file.read_bytes())
    content[content.index(b"ranks.npy") + 40] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"arrays\.npz: .*archive|arrays\.npz: the array"):
        read_run(tmp_path)


def test_a_run_without_arrays_has_none(run: RunRecord, tmp_path: Path) -> None:
    write_run(tmp_path, replace(run, arrays={}))
    assert not (tmp_path / "arrays.npz").exists()
    assert dict(read_run(tmp_path).arrays) == {}


def test_tables_of_another_version_are_an_error_that_says_the_remedy(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    direction = tiny.direction(policy)
    tables = learn(tiny.sample(policy, tiny.prompts(3)), 10)
    update = Update(
        direction=direction, gradient={}, control_variate=tables, eta=1e-4, seed=1,
        gradient_norm=1.0, direction_norm=1.0,
    )  # fmt: skip
    write_update(tmp_path, update, StoredUpdate(**vars(update.record())))
    read = read_update(tmp_path)
    assert read.control_variate is not None
    for name, table in tables.tensors().items():
        assert torch.equal(getattr(read.control_variate, name), table)
    save_file({"position": tables.position, "token": tables.token, "share": torch.zeros(())}, tmp_path / ACTION_VALUES)
    with pytest.raises(ValueError, match="other tables than this version .* measure again without --resume"):
        read_update(tmp_path)
