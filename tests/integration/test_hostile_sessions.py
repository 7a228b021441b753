"""Sessions on strangers' checkpoints: exit code 4 before anything is loaded or written, and no code of theirs runs."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests import tiny
from tests.conftest import Workspace, unwrapped
from tests.unit.checkpoints.strangers import Payload, canary, copy

__all__ = ["canary", "copy"]


def code_in_the_optimizer(place: Path, trap: Path) -> None:
    record = torch.load(place / "optimizer.pt", weights_only=True)
    torch.save({**record, "more": Payload(trap)}, place / "optimizer.pt")


def bare_pickle(place: Path, trap: Path) -> None:
    (place / "optimizer.pt").write_bytes(pickle.dumps(Payload(trap)))


def zip_bomb(place: Path, trap: Path) -> None:
    with zipfile.ZipFile(place / "optimizer.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("optimizer/data.pkl", b"\0" * 2**26)


def zip_that_climbs(place: Path, trap: Path) -> None:
    with zipfile.ZipFile(place / "optimizer.pt", "a") as archive:
        archive.writestr("../../../../climbed", b"x")


def code_in_a_dcp_directory(place: Path, trap: Path) -> None:
    shutil.copytree(place / "model", place, dirs_exist_ok=True)
    shutil.rmtree(place / "model")
    (place / "optimizer.pt").unlink()
    (place / "optimizer_0").mkdir()
    (place / "optimizer_0" / ".metadata").write_bytes(pickle.dumps(Payload(trap)))
    tiny.edit_json(place / "adapter_config.json", base_model_name_or_path="../base")


def truncated_weights(place: Path, trap: Path) -> None:
    path = place.parent / "base" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def huge_shape(place: Path, trap: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 4]}}).encode()
    path = place / "model" / "adapter_model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


def absurd_rank(place: Path, trap: Path) -> None:
    tiny.edit_json(place / "model" / "adapter_config.json", r=10**9)


def deep_json(place: Path, trap: Path) -> None:
    (place / "model" / "adapter_config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def base_that_climbs(place: Path, trap: Path) -> None:
    """A base anywhere is read, as its absolute path would be, and not trusted more for that."""
    shutil.move(place.parent / "base", place.parents[1] / "elsewhere")
    tiny.edit_json(place / "model" / "adapter_config.json", base_model_name_or_path="../../../elsewhere")
    (place.parents[1] / "elsewhere" / "model.safetensors").write_bytes(pickle.dumps(Payload(trap)))


def code_of_its_own(place: Path, trap: Path) -> None:
    base = place.parent / "base"
    (base / "evil.py").write_text(f"open({str(trap)!r}, 'w').close()\n")
    tiny.edit_json(base / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.C"})


def loop_of_links(place: Path, trap: Path) -> None:
    (place / "optimizer.pt").unlink()
    (place / "optimizer.pt").symlink_to(place / "optimizer.pt")


CASES: dict[Callable[[Path, Path], None], str] = {
    code_in_the_optimizer: "cannot be read without running code from it: it asks for posix.system",
    bare_pickle: "is not a file by torch.save",
    zip_bomb: "holds compressed entries",
    zip_that_climbs: "holds an entry that names a place outside it",
    code_in_a_dcp_directory: "it asks for posix.system",
    truncated_weights: "model.safetensors cannot be read",
    huge_shape: "adapter_model.safetensors cannot be read",
    absurd_rank: "declares rank 1000000000",
    deep_json: "adapter_config.json cannot be read as JSON",
    base_that_climbs: "model.safetensors cannot be read",
    code_of_its_own: "comes with code of its own (auto_map), which is never run",
    loop_of_links: "no optimizer state",
}


@pytest.mark.parametrize("spoil", list(CASES), ids=lambda spoil: spoil.__name__)
def test_is_refused_with_exit_code_4_and_nothing_written(
    workspace: Workspace, copy: Path, canary: Path, spoil: Callable[[Path, Path], None]
) -> None:
    spoil(copy, canary)
    before = {path for path in workspace.path.rglob("*") if not path.is_relative_to(copy.parent)}
    done = Workspace(workspace.path, copy).refused(*Workspace(workspace.path, copy).single, "-p", "no:xdist")
    assert done.returncode == 4, done.stdout + done.stderr
    assert CASES[spoil] in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    after = {path for path in workspace.path.rglob("*") if not path.is_relative_to(copy.parent)}
    assert after - before <= {workspace.path / "run"}
    assert not workspace.results.exists()


@pytest.mark.slow
def test_header_and_config_say_what_the_step_is_and_why(workspace: Workspace, copy: Path) -> None:
    """Learning rate, objective and sampling with their sources; what generation_config.json says is not used."""
    defaults = {"do_sample": True, "temperature": 0.6, "top_k": 5, "top_p": 0.8, "repetition_penalty": 1.2}
    (copy.parent / "base" / "generation_config.json").write_text(json.dumps({**defaults, "eos_token_id": 0}))
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    record["param_groups"][0].update(lr=0.0, initial_lr=2e-4)
    torch.save(record, copy / "optimizer.pt")
    chosen = Workspace(workspace.path, copy)
    options = [*chosen.single, "-p", "no:xdist", "--entropy-set=probe.advantage=grpo"]
    done = chosen.run(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    source = "optimizer.pt (initial_lr; the schedule has ended at 0)"
    said = unwrapped(done.stdout)
    assert f"learning_rate 0.0002 ({source})" in said
    assert "advantage grpo (--entropy-set" in said
    assert "temperature 1 (built-in default); top_k 0 (built-in default); top_p 1 (built-in default)" in said
    assert "not used: do_sample True, temperature 0.6, top_k 5, top_p 0.8, repetition_penalty 1.2" in said
    assert "optimizer states: order of step directory checkpoints" in said
    (path,) = chosen.results.rglob("BE006*/config.yaml")
    step = yaml.safe_load(path.read_text())["next_step"]
    assert step["learning_rate"] == {"value": 2e-4, "source": source}
    assert step["advantage"]["value"] == "grpo"
    assert step["ignored_sampling"]["value"] == defaults
    assert [step[name]["value"] for name in ("temperature", "top_k", "top_p")] == [1.0, 0, 1.0]
    (result,) = chosen.results.rglob("BE006*/results.json")
    assert json.loads(result.read_text())["eta"] == 2e-4
    # The file is accepted again, and a configured rate beats the checkpoint's.
    again = chosen.run(*options, f"--config={path}", "--learning-rate=0.003", "--collect-only")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "learning_rate 0.003 (--learning-rate)" in unwrapped(again.stdout)
