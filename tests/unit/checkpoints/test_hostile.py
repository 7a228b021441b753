"""Files by strangers: no code runs, nothing is unpacked or allocated that was not there, the message says what."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.metadata import read_metadata
from pytest_entropy.errors import UsageError
from tests.unit.checkpoints.strangers import Payload, canary, copy, full, refused

__all__ = ["canary", "copy", "full"]


# ---------------------------------------------------------------- pickles


def test_optimizer_with_code(copy: Path, canary: Path) -> None:
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    torch.save({**record, "more": Payload(canary)}, copy / "optimizer.pt")
    message = refused(copy, "optimizer.pt cannot be read without running code from it: it asks for posix.system")
    assert "weights_only" not in message


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_optimizer_is_a_bare_pickle(copy: Path, canary: Path, protocol: int) -> None:
    (copy / "optimizer.pt").write_bytes(pickle.dumps(Payload(canary), protocol=protocol))
    refused(copy, "is not a file by torch.save, or it is truncated or damaged")


def test_optimizer_in_the_old_format(copy: Path, canary: Path) -> None:
    torch.save({"state": Payload(canary)}, copy / "optimizer.pt", _use_new_zipfile_serialization=False)
    refused(copy, "files of torch 1.5 and older")


def test_pickled_adapter(copy: Path, canary: Path) -> None:
    torch.save({"x": Payload(canary)}, copy / "model" / "adapter_model.bin")
    # Beside safetensors it is not looked at.
    load_checkpoint(copy)
    (copy / "model" / "adapter_model.safetensors").unlink()
    refused(copy, "no adapter_model.safetensors .*pickled adapter_model.bin files are not opened")


def test_pickled_weights(full: Path, canary: Path) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "rng_state.pth", "scheduler.pt"):
        torch.save({"x": Payload(canary)}, full / name)
    load_checkpoint(full)
    (full / "model.safetensors").unlink()
    refused(full, "has its weights in pytorch_model.bin, a pickle, which is not opened")


def test_pickled_base(copy: Path, canary: Path) -> None:
    torch.save({"x": Payload(canary)}, copy.parent / "base" / "pytorch_model.bin")
    (copy.parent / "base" / "model.safetensors").unlink()
    refused(copy, "has no config.json with model.safetensors")


def test_pickled_neighbour(copy: Path, canary: Path) -> None:
    """The checkpoint one step before is looked at as carefully."""
    shutil.copytree(copy, copy.parent / "step_2")
    (copy.parent / "step_2" / "model" / "adapter_model.safetensors").unlink()
    torch.save({"x": Payload(canary)}, copy.parent / "step_2" / "model" / "adapter_model.bin")
    torch.save({"x": Payload(canary)}, copy.parent / "step_2" / "optimizer.pt")
    copy.rename(copy.parent / "at_3")
    (copy.parent / "step_2").rename(copy.parent / "at_2")
    load_checkpoint(copy.parent / "at_3")
    (copy.parent / "at_3").rename(copy.parent / "at_7")
    (copy.parent / "at_2").rename(copy.parent / "at_6")
    assert "at_6 does not say which optimizer step it is" in load_checkpoint(copy.parent / "at_7").mapping


# ---------------------------------------------------------------- archives


def repack(path: Path, *, compression: int, change: Callable[[str, bytes], bytes] = lambda name, data: data) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts:
            archive.writestr(name, change(name, data))


def test_a_compressed_bomb(copy: Path) -> None:
    repack(
        copy / "optimizer.pt",
        compression=zipfile.ZIP_DEFLATED,
        change=lambda name, data: b"\0" * (300 * 2**20) if name.endswith("/data/0") else data,
    )
    assert (copy / "optimizer.pt").stat().st_size < 2**20
    refused(copy, "holds compressed entries, which torch.save never writes")


def test_overlapping_entries(copy: Path) -> None:
    """One stretch of bytes listed a thousand times: the directory promises more than the file has."""
    path = copy / "optimizer.pt"
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    largest = max(entries.values(), key=lambda entry: entry.file_size)
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(2000):
            again = zipfile.ZipInfo(f"archive/data/{1000 + i}")
            for name in ("file_size", "compress_size", "CRC", "header_offset"):
                setattr(again, name, getattr(largest, name))
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]
    refused(copy, r"has \d+ bytes and declares \d+ unpacked")


def test_a_pickle_too_large_for_the_model(copy: Path) -> None:
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    torch.save({**record, "notes": ["x" * 50 + str(i) for i in range(200_000)]}, copy / "optimizer.pt")
    refused(copy, "describes its tensors in .* bytes, more than the .* this model's could take")


def test_a_tensor_that_claims_a_huge_shape(copy: Path) -> None:
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    first = next(iter(record["state"].values()))
    first["exp_avg"] = torch.zeros(1).expand(10**6, 10**6)
    torch.save(record, copy / "optimizer.pt")
    refused(copy, r"has exp_avg of shape \(1000000, 1000000\), the parameter", early=False)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_optimizer(copy: Path, keep: float) -> None:
    data = (copy / "optimizer.pt").read_bytes()
    (copy / "optimizer.pt").write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refused(copy, "is truncated or damaged")


def test_flipped_bits_in_the_optimizer(copy: Path) -> None:
    """Whatever a flipped byte does, the outcome is a message or a state of the right shapes."""
    path = copy / "optimizer.pt"
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        length = next(entry.file_size for entry in archive.infolist() if entry.filename.endswith("data.pkl"))
    rng = np.random.default_rng(0)
    refusals = 0
    for place in [*rng.integers(0, length, 25), *rng.integers(0, len(data), 10)]:
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        try:
            checkpoint = load_checkpoint(copy)
        except UsageError:
            refusals += 1
        else:
            assert all(
                state.exp_avg.shape == checkpoint.policy.trainable[name].shape
                for name, state in checkpoint.optimizer.items()
            )
    assert refusals > 5


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("keep", [0, 7, 50, 0.5, 0.999])
@pytest.mark.parametrize("which", ["model/adapter_model.safetensors", "../base/model.safetensors"])
def test_truncated_weights(copy: Path, which: str, keep: float) -> None:
    path = (copy / which).resolve()
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refused(copy, re.escape(path.name))


def test_a_header_that_claims_a_huge_length(copy: Path) -> None:
    path = copy / "model" / "adapter_model.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    refused(copy, "adapter_model.safetensors cannot be read: .*[Hh]eader")


def test_flipped_bits_in_a_header(copy: Path) -> None:
    path = copy / "model" / "adapter_model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(1)
    refusals = 0
    for place in rng.integers(0, 8 + length, 30):
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        try:
            load_checkpoint(copy)
        except UsageError:
            refusals += 1
    # A flip inside a tensor's name or the free-text metadata is all that may pass, and names are checked.
    assert refusals >= 25


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["model/adapter_model.safetensors", "../base/model.safetensors"])
def test_weights_that_are_not_finite(copy: Path, which: str, value: float) -> None:
    path = (copy / which).resolve()
    tensors = load_file(path)
    name = sorted(tensors)[3]
    tensors[name].flatten()[0] = value
    save_file(tensors, path, metadata={"format": "pt"})
    refused(copy, "1 weights are not finite, for instance ", early=False)


def test_moments_that_are_not_finite(copy: Path) -> None:
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    next(iter(record["state"].values()))["exp_avg_sq"][0, 0] = float("nan")
    torch.save(record, copy / "optimizer.pt")
    refused(copy, "lora_A.default.weight has a exp_avg_sq that is not finite", early=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": (0.9, 1.0)}, "are not valid for AdamW"),
        ({"betas": 0.9}, "are not valid for AdamW"),
        ({"lr": float("nan")}, "is not a learning rate"),
        ({"lr": -1e-3}, "is not a learning rate"),
        ({"lr": 10**400}, "is not a learning rate"),
        ({"param_names": 5}, "param_names are not a list"),
        ({"betas": ("a", 0.9)}, "hold 'a' where a number belongs"),
        ({"eps": float("nan")}, "are not valid for AdamW"),
        ({"weight_decay": -1.0}, "are not valid for AdamW"),
        ({"amsgrad": True}, "amsgrad and maximize are not supported"),
        ({"decoupled_weight_decay": False}, "inside the gradient is not AdamW"),
        ({"params": "all"}, "param_groups need params, betas and eps"),
    ],
)
def test_settings_that_are_not_adamws(copy: Path, changes: dict[str, object], message: str) -> None:
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    record["param_groups"][0].update(changes)
    torch.save(record, copy / "optimizer.pt")
    # What the header says of it is left open.
    read_metadata(find_checkpoint(copy))
    refused(copy, message, early=False)


def test_a_sharded_model_whose_index_leads_out(full: Path) -> None:
    tensors = load_file(full / "model.safetensors")
    (full / "model.safetensors").rename(full.parent / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "../elsewhere.safetensors")}
    (full / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(full, r"puts .* into '../elsewhere.safetensors', which is not a file of")
    shutil.move(full.parent / "elsewhere.safetensors", full / "part.safetensors")
    index["weight_map"] = dict.fromkeys(tensors, "part.safetensors")
    (full / "model.safetensors.index.json").write_text(json.dumps(index))
    load_checkpoint(full)
