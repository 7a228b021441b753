"""A trainer's file is read as data, whatever is in it; one that cannot be read says why, and nothing in it runs."""

from __future__ import annotations

import enum
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_entropy.checkpoints.training_arguments import NAME, TrainingArguments, read_training_arguments
from tests.present import present
from tests.unit.checkpoints.strangers import Payload, canary
from tests.unit.checkpoints.trainer_files import GRPOConfig, archived, files_in, saved

__all__ = ["canary"]


class Strategy(enum.Enum):
    """As transformers' IntervalStrategy."""

    STEPS = "steps"


def read(place: Path, data: bytes | None = None) -> TrainingArguments:
    if data is not None:
        (place / NAME).write_bytes(data)
    return present(read_training_arguments(files_in(place)))


def test_no_file(tmp_path: Path) -> None:
    assert read_training_arguments(files_in(tmp_path)) is None


def test_a_file_by_torch(tmp_path: Path) -> None:
    record = GRPOConfig(loss_type="bnpo", temperature=0.7, save_strategy=Strategy.STEPS, device=torch.device("cpu"))
    torch.save(record, tmp_path / NAME)
    found = read(tmp_path)
    assert found.problem == ""
    assert found.class_name.endswith(".GRPOConfig")
    assert (found.values["loss_type"], found.values["temperature"]) == ("bnpo", 0.7)
    assert found.values["save_strategy"].arguments == ("steps",)
    assert found.values["device"].class_name == "torch.device"


def test_a_link_as_in_a_hub_cache_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(saved(GRPOConfig(beta=0.1)))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / NAME).symlink_to("../blob")
    assert read(tmp_path / "snapshot").values == {"beta": 0.1}


def test_beside_the_weights_of_a_step_directory(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / NAME).write_bytes(saved(GRPOConfig(beta=0.1)))
    files = files_in(tmp_path)
    found = read_training_arguments(type(files)(files.layout, tmp_path, tmp_path / "model", True, tmp_path, None))
    assert present(found).values == {"beta": 0.1}


# ---------------------------------------------------------------- files by strangers


def reduced(*call: Any) -> Any:
    class Called:
        def __reduce__(self) -> tuple[Any, ...]:
            return call

    return Called()


def with_state(command: str) -> bytes:
    """BUILD with a state that Python's unpickler would hand to ``__setstate__``: here, os.system."""
    return (
        b"\x80\x02cpytest\nCode\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb"
        + b"X" + len(command).to_bytes(4, "little") + command.encode() + b"b."
    )  # fmt: skip


HOSTILE: dict[str, Callable[[str], bytes]] = {
    "REDUCE os.system": lambda c: saved(reduced(os.system, (c,))),
    "REDUCE in an attribute": lambda c: saved(GRPOConfig(num_generations=4, loss_type=reduced(os.system, (c,)))),
    "REDUCE of what builtins.eval gives": lambda c: saved(reduced(eval, (f"__import__('os').system({c!r})",))),
    "REDUCE of getattr": lambda c: saved([reduced(getattr, (reduced(__import__, ("os",)), "system")), c]),
    "BUILD with __setstate__": lambda c: archived(with_state(c)),
    "INST": lambda c: archived(f"(S{c!r}\nios\nsystem\n.".encode()),
    "OBJ": lambda c: archived(b"\x80\x02(cos\nsystem\nX" + len(c).to_bytes(4, "little") + c.encode() + b"o."),
    "NEWOBJ_EX": lambda c: archived(b"\x80\x04cos\nsystem\n)}\x92."),
    "protocol 0": lambda c: archived(f"cos\nsystem\n(S{c!r}\ntR.".encode()),
    "persistent id": lambda c: archived(f"P{c}\n.".encode()),
    "extension": lambda c: archived(b"\x80\x02\x82\x01."),
    "bare pickle": lambda c: pickle.dumps(reduced(os.system, (c,)), protocol=2),
}
# None of these has an object with attributes at its root, except the one whose loss_type is the payload.
READABLE = ("REDUCE in an attribute",)


@pytest.mark.parametrize("case", HOSTILE)
def test_code_in_the_file_does_not_run(tmp_path: Path, canary: Path, case: str) -> None:
    found = read(tmp_path, HOSTILE[case](f"touch {canary}"))
    assert not canary.exists()
    if case in READABLE:
        assert found.values["num_generations"] == 4
        assert found.values["loss_type"].arguments == (f"touch {canary}",)
    else:
        assert NAME in found.problem
        assert not found.values


def test_a_payload_by_torch_does_not_run(tmp_path: Path, canary: Path) -> None:
    torch.save(GRPOConfig(num_generations=4, more=Payload(canary)), tmp_path / NAME)
    assert read(tmp_path).values["num_generations"] == 4
    torch.save(Payload(canary), tmp_path / NAME, _use_new_zipfile_serialization=False)
    assert "is not a file by torch.save of torch 1.6 or later" in read(tmp_path).problem


def compressed_bomb() -> bytes:
    return archived(b"\x80\x02" + b"N0" * (50 * 2**20) + b"N.", compression=zipfile.ZIP_DEFLATED)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is not a file by torch.save"),
    "noise": (lambda: bytes(range(256)) * 10, "is not a file by torch.save"),
    "truncated": (lambda: saved(GRPOConfig(beta=0.1))[:-30], "is not a file by torch.save"),
    "compressed": (compressed_bomb, "holds compressed entries"),
    "large": (lambda: saved(GRPOConfig(text="x" * 2**21)), "has more than the 1048576 bytes"),
    "no pickle": (lambda: archived(b"N.", name="training_args/other"), "is not a file by torch.save"),
    "a list": (lambda: saved([1, 2]), "holds no trainer's arguments"),
    "an object without attributes": (lambda: archived(b"\x80\x02cos\nsystem\n)R."), "holds no trainer's arguments"),
    "keys hashed for ever": (
        lambda: archived(b"\x80\x02})q\x00" + b"0h\x00h\x00\x86q\x00" * 200 + b"Ns."),
        "it has a key of type tuple",
    ),
    "memo": (lambda: archived(b"\x80\x02Nr\xff\xff\xff\x7f."), "it uses LONG_BINPUT"),
    "deep": (lambda: archived(b"\x80\x02" + b"]" * 500_000 + b"."), "holds no trainer's arguments"),
    "marks": (lambda: archived(b"\x80\x02" + b"(" * 500_000 + b"N."), "holds no trainer's arguments"),
    "bytes that are not there": (lambda: archived(b"\x80\x02X\xff\xff\xff\x7f."), "is damaged"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_cost_no_more_than_their_bytes(tmp_path: Path, case: str) -> None:
    make, message = BOMBS[case]
    data = make()
    before = time.perf_counter()
    found = read(tmp_path, data)
    assert message in found.problem
    assert len(found.problem) < 300
    assert time.perf_counter() - before < 10


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe would be waited for, and a device could go on for ever."""
    os.mkfifo(tmp_path / "pipe")
    for target in ("pipe", "/dev/zero", "nowhere", str(tmp_path), NAME):
        (tmp_path / NAME).symlink_to(target)
        assert "is no file" in read(tmp_path).problem
        (tmp_path / NAME).unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(saved(GRPOConfig()))
    (tmp_path / NAME).chmod(0)
    assert "cannot be opened" in read(tmp_path).problem


@pytest.mark.parametrize("beside", [True, False])
def test_the_version_of_trl_from_its_model_card(tmp_path: Path, beside: bool) -> None:
    place = tmp_path / "out" / "checkpoint-5"
    place.mkdir(parents=True)
    card = (place if beside else place.parent) / "README.md"
    card.write_text("# Model\n\n- PEFT 0.21\n- TRL: 0.21.1\n- Transformers: 4.56\n")
    assert read(place, b"").trl_version == "0.21.1"
    card.write_text("- TRL: " + "9" * 1000 + "\n")
    assert read(place).trl_version == ""
    card.unlink()
    os.mkfifo(card)
    assert read(place).trl_version == ""


def test_a_directory_of_that_name(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert "is no file" in read(tmp_path).problem
    shutil.rmtree(tmp_path / NAME)
