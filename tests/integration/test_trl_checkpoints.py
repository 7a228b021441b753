"""Checkpoints TRL really wrote: every state under its name, the next step as the trainer took it, sampling at T = 1."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from pytest_entropy.checkpoints import Checkpoint, load_checkpoint, verify_optimizer_mapping
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.states.parameter_order import live_name
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.update_rules import update_direction
from tests.conftest import Workspace
from tests.present import present
from tests.trl_runs import ADAPTERS, ENDED, MAX_GRAD_NORM, STEPS, TrlRun, trl_run

__all__ = ["trl_run"]

# Other kinds and architectures with the slow tests: each is trained for its own few seconds.
KINDS = [pytest.param(kind, marks=[] if kind == "lora" else pytest.mark.slow) for kind in ADAPTERS]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("step", range(2, STEPS + 1))
def test_the_mapping_is_proved(trl_run: Callable[[str], TrlRun], kind: str, step: int) -> None:
    run = trl_run(kind)
    proof = verify_optimizer_mapping(run.checkpoint(step - 1), run.checkpoint(step))
    assert proof.proved
    # Before step 2 no gradient reaches lora_A, for lora_B starts at 0: those have not moved, or by decay only.
    assert not proof.unresolved
    quantised = {name for name, s in load_checkpoint(run.checkpoint(step)).optimizer.items() if s.quantised}
    assert bool(quantised) == kind.endswith("8bit")
    for name, residual in proof.relative.items():
        # float32: the weights' rounding over the step; 8 bits: the moments lose precision after the step.
        # Norms and DoRA's magnitudes are near 1, so that their rounding is a larger share of the step.
        assert residual < (0.15 if name in quantised else 3e-5), name
    rate = 1e-2 * (1 - (step - 1) / STEPS) if kind == ENDED else 1e-2
    assert all(fitted == pytest.approx(rate, rel=1e-5) for fitted in present(proof.rates).values())


def expect_next_step(run: TrlRun, step: int, checkpoint: Checkpoint) -> None:
    """The direction from this checkpoint and the recorded gradient is what the trainer did next, to 1e-5."""
    recorded = {live_name(name): g for name, g in run.gradient(step + 1).items()}
    gradient = {name: recorded[live_name(name)] for name in checkpoint.policy.trainable}
    assert len(gradient) == len(recorded)
    direction = update_direction(
        "adamw", gradient, checkpoint.optimizer, checkpoint.policy.trainable, max_grad_norm=MAX_GRAD_NORM
    )
    before, after = WeightsFile(run.checkpoint(step)), WeightsFile(run.checkpoint(step + 1))
    assert set(direction) == set(checkpoint.policy.trainable) == set(checkpoint.stored_names) & set(direction)
    for name, u in direction.items():
        old, new = (file.read(checkpoint.stored_names[name]).double() for file in (before, after))
        gap = float((new - old - present(checkpoint.learning_rate) * u).norm())
        # Weights near 1 (norms, DoRA's magnitudes) are stored to 6e-8, which is 2e-5 of a small step.
        assert gap <= 1e-5 * float((new - old).norm()) + 2**-24 * float(new.norm()), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", range(1, STEPS))
def test_adamw_is_the_trainers_next_step(trl_run: Callable[[str], TrlRun], kind: str, step: int) -> None:
    """From checkpoint-k and the gradient of step k+1, unclipped: the weights of checkpoint-(k+1)."""
    run = trl_run(kind)
    checkpoint = load_checkpoint(run.checkpoint(step))
    if kind == "full":
        norm = sum(float(g.double().square().sum()) for g in run.gradient(step + 1).values()) ** 0.5
        assert norm > MAX_GRAD_NORM, "clipping is to be seen at work"
    assert checkpoint.learning_rate_source == "optimizer.pt (lr of the next step)"
    expect_next_step(run, step, checkpoint)


def by_names(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The same optimizer with names as keys."""
    groups = [{**g, "params": [names[i] for i in g["params"]]} for g in record["param_groups"]]
    return {"state": {names[i]: entry for i, entry in record["state"].items()}, "param_groups": groups}


def as_steps(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    """The old script's directory; its trainer numbered all parameters, so that frozen ones leave gaps."""
    (place / "model").mkdir()
    for file in place.iterdir():
        if file.name not in ("model", "optimizer.pt"):
            file.rename(place / "model" / file.name)
    return place / "model"


def as_side_file(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    """Numbers in an order of their own, the names beside the file."""
    order = list(reversed(range(len(names))))
    state = {n: record["state"][i] for n, i in enumerate(order)}
    # One group's settings hold for all: the decay of a LoRA's parameters is the same.
    group = {**record["param_groups"][0], "params": list(range(len(order)))}
    torch.save({"state": state, "param_groups": [group]}, place / "optimizer.pt")
    (place / "optimizer_param_names.json").write_text(json.dumps([names[i] for i in order]))
    return place


def as_param_names(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    groups = [{**g, "param_names": [names[i] for i in g["params"]]} for g in record["param_groups"]]
    torch.save({**record, "param_groups": groups}, place / "optimizer.pt")
    return place


def as_fsdp(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    torch.save(by_names(record, names), place / "optimizer.bin")
    (place / "optimizer.pt").unlink()
    return place


def as_dcp(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        # It says that it takes one process for granted.
        warnings.simplefilter("ignore")
        dcp.save({"optimizer": by_names(record, names)}, checkpoint_id=place / "optimizer_0")  # type: ignore[attr-defined]
    (place / "optimizer.pt").unlink()
    return place


def as_flat_states(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    """bitsandbytes before 0.49.2 did not nest what it keeps."""
    nested = "__bnb_optimizer_quant_state__"
    flat = {i: {**{k: v for k, v in e.items() if k != nested}, **e.get(nested, {})} for i, e in record["state"].items()}
    assert any(nested in entry for entry in record["state"].values())
    torch.save({**record, "state": flat}, place / "optimizer.pt")
    return place


def as_a_link(place: Path, record: dict[str, Any], names: list[str]) -> Path:
    link = place.parent / "latest"
    link.symlink_to(place)
    return link


ARRANGED: dict[str, tuple[str, Callable[[Path, dict[str, Any], list[str]], Path], str]] = {
    "step directory": ("lora", as_steps, "order of step directory"),
    "side file": ("lora", as_side_file, "names in optimizer_param_names.json"),
    "param_names": ("lora bias all", as_param_names, "names in optimizer.pt"),
    "param_names, full": ("full", as_param_names, "names in optimizer.pt"),
    "FSDP": ("lora bias all", as_fsdp, "names in optimizer.bin"),
    "FSDP, full": ("full", as_fsdp, "names in optimizer.bin"),
    "DCP": ("lora bias all", as_dcp, "names in optimizer_0"),
    "DCP, full": ("full", as_dcp, "names in optimizer_0"),
    "flat 8-bit": ("lora 8bit", as_flat_states, "order of HF Trainer"),
    "flat 8-bit, full": ("full 8bit", as_flat_states, "order of HF Trainer"),
    "a link": ("lora", as_a_link, "order of HF Trainer"),
}


# Each kind is trained for its own few seconds: all but one with the slow tests.
FAST = ("lora",)
CASES = [pytest.param(case, marks=() if kind in FAST else pytest.mark.slow) for case, (kind, *_) in ARRANGED.items()]


@pytest.mark.parametrize("case", CASES)
def test_every_layout_gives_the_trainers_next_step(trl_run: Callable[[str], TrlRun], tmp_path: Path, case: str) -> None:
    """The same real checkpoint as others would have written it."""
    kind, arrange, mapping = ARRANGED[case]
    run = trl_run(kind)
    place = tmp_path / "out" / "checkpoint-3"
    shutil.copytree(run.checkpoint(3), place)
    record = torch.load(place / "optimizer.pt", weights_only=True)
    whole = load_checkpoint(run.checkpoint(3)).optimizer
    # In the trainer's numbering, which another test proves.
    names = sorted(whole, key=lambda name: whole[name].group)
    found = arrange(place, record, names)
    checkpoint = load_checkpoint(found, base_model=str(run.path / "base") if ADAPTERS[kind] is not None else None)
    assert checkpoint.mapping.startswith(mapping)
    expect_next_step(run, 3, checkpoint)


@pytest.mark.parametrize("kind", KINDS)
def test_two_swapped_states_are_refused_by_name(trl_run: Callable[[str], TrlRun], kind: str, tmp_path: Path) -> None:
    run = trl_run(kind)
    copy = tmp_path / "run"
    shutil.copytree(run.path / "out", copy / "out", ignore=shutil.ignore_patterns("checkpoint-[123]"))
    shutil.copytree(run.path / "base", copy / "base")
    path = copy / "out" / f"checkpoint-{STEPS}" / "optimizer.pt"
    whole = load_checkpoint(run.checkpoint(STEPS))
    record = torch.load(path, weights_only=True)
    shapes = {name: tuple(state.exp_avg.shape) for name, state in whole.optimizer.items()}
    groups = {name: state.group for name, state in whole.optimizer.items()}
    order = sorted(shapes, key=lambda name: groups[name])
    a, b = next((a, b) for a, b in itertools.combinations(range(len(order)), 2) if shapes[order[a]] == shapes[order[b]])
    record["state"][a], record["state"][b] = record["state"][b], record["state"][a]
    torch.save(record, path)
    with pytest.raises(UsageError, match=r"permuted or of another model: 2 of") as raised:
        load_checkpoint(path.parent, base_model=str(copy / "base") if ADAPTERS[kind] is not None else None)
    assert order[a] in str(raised.value)
    assert order[b] in str(raised.value)


@pytest.mark.slow
def test_the_rate_after_the_schedule_has_ended(trl_run: Callable[[str], TrlRun]) -> None:
    checkpoint = load_checkpoint(trl_run(ENDED).checkpoint(STEPS))
    assert checkpoint.learning_rate == 1e-2
    assert checkpoint.learning_rate_source == "optimizer.pt (initial_lr; the schedule has ended at 0)"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora bias all", "full"])
def test_norms_and_biases_are_the_group_without_decay(trl_run: Callable[[str], TrlRun], kind: str) -> None:
    states = load_checkpoint(trl_run(kind).checkpoint(2)).optimizer
    without = {name for name, state in states.items() if state.weight_decay == 0}
    assert without == {name for name in states if name.endswith("bias") or "norm" in name}
    assert without != set(states)
    # Numbered by groups, plain order would put most states under other names.
    plain = list(states)
    grouped = [n for n in plain if n not in without] + [n for n in plain if n in without]
    assert sum(a != b for a, b in zip(plain, grouped, strict=True)) > len(plain) / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_sanity_check_passes_with_sampling_at_temperature_one(
    trl_run: Callable[[str], TrlRun], kind: str, workspace: Workspace
) -> None:
    """top_k 5, top_p 0.8, temperature 0.6, repetition penalty 1.2, pad = EOS and dropout: none of it is used."""
    chosen = Workspace(workspace.path, trl_run(kind).checkpoint(STEPS))
    done = chosen.run("experiments/test_sanity_check.py", *chosen.small, "--be=8", "--runs=3", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(file.read_text()) for file in sorted(chosen.results.rglob("results.json"))]
    assert len(results) == 3
    loaded = load_checkpoint(chosen.checkpoint)
    assert loaded.policy.temperature == 1.0
    assert not any(isinstance(m, torch.nn.Dropout) and m.training for m in loaded.policy.model.modules())
    assert {
        k: loaded.ignored_generation_config[k] for k in ("temperature", "top_k", "top_p", "repetition_penalty")
    } == {
        "temperature": 0.6,
        "top_k": 5,
        "top_p": 0.8,
        "repetition_penalty": 1.2,
    }


def test_a_run_is_trained_once_for_all_workers(trl_run: Callable[[str], TrlRun]) -> None:
    run = trl_run("lora")
    with FileLock(f"{run.path}.lock").acquire(timeout=0):
        assert (run.path / "done").exists()
    assert trl_run("lora") == run
