"""DCP directories: read by name without unpickling, whatever number of ranks wrote them; strangers' refused."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.errors import UsageError
from tests.unit.checkpoints.strangers import Payload, canary, refused
from tests.unit.checkpoints.test_layouts import expect, rewrite, save_full

__all__ = ["canary"]

ROOT = Path(__file__).parents[4]


def shard(place: Path) -> tuple[dict[str, Any], list[str]]:
    """The optimizer of a whole tiny model as a DCP directory by one process; what it kept, and the names."""
    record, names = save_full(place)
    (place / "optimizer.pt").unlink()
    by_name = rewrite(place, record, names, order=list(range(len(names))), keys="strings")
    with pytest.warns(UserWarning, match="single process"):
        dcp.save({"optimizer": by_name}, checkpoint_id=place / "optimizer_0")  # type: ignore[attr-defined]
    return record, names


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    shard(tmp_path / "checkpoint-3")
    return tmp_path / "checkpoint-3"


def test_is_read_by_name(tmp_path: Path) -> None:
    place = tmp_path / "checkpoint-3 with a space"
    record, names = shard(place)
    checkpoint = load_checkpoint(place)
    assert checkpoint.files.layout == "DCP directory"
    assert checkpoint.mapping.startswith("names in optimizer_0; ")
    # A directory of shards has no second reading of the optimizer.
    expect(checkpoint, record, names, unread=("optimizer_scalars", "moments"))
    group = record["param_groups"][0]
    for state in checkpoint.optimizer.values():
        assert (state.step, state.lr, state.betas) == (3, group["lr"], group["betas"])
        assert (state.eps, state.weight_decay) == (group["eps"], group["weight_decay"])


def test_torchs_own_conversion_gives_the_same(sharded: Path) -> None:
    wanted = load_checkpoint(sharded)
    dcp_to_torch_save(sharded / "optimizer_0", sharded / "optimizer.bin")
    found = load_checkpoint(sharded)
    assert found.files.layout == "FSDP"
    assert all(torch.equal(found.optimizer[n].exp_avg_sq, s.exp_avg_sq) for n, s in wanted.optimizer.items())


def test_the_digest_sees_every_file(sharded: Path) -> None:
    before = find_checkpoint(sharded).digest()
    assert find_checkpoint(sharded).digest() == before
    (data,) = (sharded / "optimizer_0").glob("*.distcp")
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    assert find_checkpoint(sharded).digest() != before


TRAIN = """
import os, sys
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from tests import tiny

place = sys.argv[1]
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
words = tiny.tokenizer()
model = tiny.qwen2(len(words), eos_token_id=words.eos_token_id)
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
heavy, light = ([p for p in model.parameters() if (p.dim() > 1) == wide] for wide in (True, False))
optimizer = tiny.trained_step(model, [{"params": heavy, "weight_decay": 0.1}, {"params": light, "weight_decay": 0.0}])
dcp.save({"optimizer": get_optimizer_state_dict(model, optimizer)}, checkpoint_id=place + "/optimizer_0")
whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
weights, state = (f(*a, options=whole) for f, a in
                  ((get_model_state_dict, (model,)), (get_optimizer_state_dict, (model, optimizer))))
if dist.get_rank() == 0:
    fresh = tiny.qwen2(len(words), eos_token_id=words.eos_token_id)
    fresh.load_state_dict(weights, strict=False)
    fresh.save_pretrained(place)
    words.save_pretrained(place)
    torch.save(state, place + "/gathered.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_fsdp2_really_wrote_it(tmp_path: Path, ranks: int, free_port: int) -> None:
    """``fully_shard`` on the CPU, saved as accelerate does; torch's own gathered state is the oracle."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port), "WORLD_SIZE": str(ranks)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, **common, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
    assert len(list((tmp_path / "optimizer_0").glob("*.distcp"))) == ranks
    checkpoint = load_checkpoint(tmp_path)
    wanted = torch.load(tmp_path / "gathered.pt", weights_only=True)["state"]
    assert set(checkpoint.optimizer) == set(wanted)
    for name, state in checkpoint.optimizer.items():
        assert torch.equal(state.exp_avg, wanted[name]["exp_avg"]), name
        assert torch.equal(state.exp_avg_sq, wanted[name]["exp_avg_sq"]), name
        assert state.weight_decay == (0.1 if state.exp_avg.dim() > 1 else 0.0), name
    # Without one rank's file the state is refused, whole parameters or parts of them being lost.
    sorted((tmp_path / "optimizer_0").glob("*.distcp"))[-1].unlink()
    with pytest.raises(UsageError, match="which is not a file of this directory"):
        load_checkpoint(tmp_path)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_sharded_weights_are_to_be_merged(tmp_path: Path) -> None:
    (tmp_path / "optimizer_0").mkdir()
    (tmp_path / "optimizer_0" / ".metadata").write_bytes(b"not to be opened")
    (tmp_path / "pytorch_model_fsdp_0").mkdir()
    with pytest.raises(UsageError, match="accelerate merge-weights"):
        find_checkpoint(tmp_path)


# ---------------------------------------------------------------- by strangers


def metadata(place: Path) -> Metadata:
    """The directory's description as torch itself reads it, to be spoiled and written back."""
    found: Metadata = pickle.loads((place / "optimizer_0" / ".metadata").read_bytes())
    return found


def write(place: Path, record: Metadata) -> None:
    (place / "optimizer_0" / ".metadata").write_bytes(pickle.dumps(record))


def test_code_in_the_description_is_not_run(sharded: Path, canary: Path) -> None:
    record = metadata(sharded)
    record.planner_data["more"] = Payload(canary)
    write(sharded, record)
    refused(sharded, r"more than a description of tensors.*asks for posix.system")


def test_code_in_the_data_is_not_run(sharded: Path, canary: Path) -> None:
    record = metadata(sharded)
    index = next(iter(record.storage_data))
    (data,) = (sharded / "optimizer_0").glob("*.distcp")
    stream = io.BytesIO()
    torch.save(Payload(canary), stream)
    place = record.storage_data[index]
    place.offset, place.length = data.stat().st_size, len(stream.getvalue())
    data.write_bytes(data.read_bytes() + stream.getvalue())
    write(sharded, record)
    refused(sharded, "cannot be read without running code from it: it asks for posix.system", early=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is damaged, or holds more than"),
        (b"\x80\x04N.", "lacks state_dict_metadata"),
        # Puts None into place 2^31 of a table that is as long.
        (b"\x80\x04Nr\xff\xff\xff\x7f.", "it uses LONG_BINPUT"),
        (b"\x80\x04\x82\x01.", "it uses EXT1"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x0f\x00\x00.", "is damaged, or holds more than"),
        (b"cos\nsystem\n(S'true'\ntR.", "it asks for os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "it asks for os.system"),
        (b"\x80\x04\x8c\x05torch\x8c\x04load\x93\x8c\x04true\x85R.", "it asks for torch.load"),
        (b"\x80\x04" + b"]" * 100_000 + b"." * 2, "lacks state_dict_metadata"),
        (b"\x80\x04" + b"(" * 2**24, "more than the .* this model's could take"),
    ],
    ids=[
        "empty",
        "None",
        "memo-bomb",
        "extension",
        "bytes-bomb",
        "protocol-0",
        "os.system",
        "torch.load",
        "deep",
        "large",
    ],
)
def test_pickles_that_are_no_description(sharded: Path, data: bytes, message: str) -> None:
    (sharded / "optimizer_0" / ".metadata").write_bytes(data)
    refused(sharded, message)


def change_size(record: Metadata) -> None:
    entry = next(e for key, e in record.state_dict_metadata.items() if key.endswith("exp_avg"))
    assert isinstance(entry, TensorStorageMetadata)
    entry.size = torch.Size([10**6, 10**6])


def change_place(**changes: Any) -> Callable[[Metadata], None]:
    def change(record: Metadata) -> None:
        for key, value in changes.items():
            setattr(next(iter(record.storage_data.values())), key, value)

    return change


def swap_parts(record: Metadata) -> None:
    moments = [index for index in record.storage_data if index.fqn.endswith("exp_avg")]
    a, b = moments[0], next(i for i in moments if len(i.offset) == 1)
    record.storage_data[a] = record.storage_data[b]


SPOILED: dict[str, tuple[Callable[[Metadata], object], str]] = {
    "huge shape": (change_size, "too small for its size"),
    "another directory": (change_place(relative_path="../config.json"), "which is not a file of this directory"),
    "beyond the end": (change_place(offset=10**9), "is beyond the end of"),
    "negative": (change_place(offset=-1), "is beyond the end of"),
    "compressed": (change_place(transform_descriptors=["zstd"]), "stored compressed"),
    "another tensor's part": (swap_parts, "elements of|too small for its size"),
    "no paths": (lambda r: r.planner_data.clear(), "does not say where"),
    "a path through a value": (lambda r: r.planner_data.update({k: ("optimizer",) for k in list(r.planner_data)[:1]}),
                               "both as a value and as a table"),
    "parts gone": (lambda r: r.storage_data.clear(), "has 0 parts|is stored 0 times"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(SPOILED))
def test_spoiled_descriptions(sharded: Path, case: str) -> None:
    spoil, message = SPOILED[case]
    record = metadata(sharded)
    spoil(record)
    write(sharded, record)
    # What a part really holds is seen when it is read.
    refused(sharded, message, early=case != "a path through a value")


def test_truncated_data(sharded: Path) -> None:
    (data,) = (sharded / "optimizer_0").glob("*.distcp")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    refused(sharded, "truncated or damaged")


def test_a_link_to_another_directory(sharded: Path, tmp_path: Path) -> None:
    """Links are followed, as in a hub cache; what is read is data either way."""
    shutil.move(sharded / "optimizer_0", tmp_path / "elsewhere")
    (sharded / "optimizer_0").symlink_to(tmp_path / "elsewhere")
    assert load_checkpoint(sharded).files.layout == "DCP directory"
