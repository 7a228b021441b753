"""The second reading of a checkpoint's files, each of its fields red on planted faults of what is in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.checkpoints import Checkpoint, load_checkpoint
from pytest_entropy.checkpoints.second_reading.elements import DRAWN, places
from pytest_entropy.checkpoints.second_reading.end_token_files import read_end_tokens
from pytest_entropy.checkpoints.second_reading.reading import PlainReading
from pytest_entropy.checkpoints.states.optimizer_file import read_optimizer
from pytest_entropy.checks.base import Check
from pytest_entropy.checks.bookkeeping import identities
from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.probe.inputs import NO_FILES
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.second_reading import SecondReading
from tests import tiny
from tests.unit.checkpoints.read_again import expect_read_again
from tests.unit.reports.stored import result

IDENTITIES = {
    "optimizer_scalars": "optimizer_scalars_are_stored",
    "moments": "moments_are_stored",
    "weights": "weights_are_stored",
    "adapter_scaling": "adapter_scaling_is_configured",
    "end_tokens": "end_tokens_are_configured",
    "scores": "model_is_loaded",
    "base_weights": "base_is_stored",
}
InUse = tuple[Policy, AdamWState]
Q, K = (f"model.layers.0.self_attn.{name}_proj.lora_A.default.weight" for name in "qk")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_seed_checkpoint(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def checkpoint(stored: Path) -> Checkpoint:
    return load_checkpoint(stored)


def state(name: str, **changes: Any) -> Callable[[Checkpoint], InUse]:
    """The state of one parameter with other settings."""
    return lambda c: (c.policy, {**c.optimizer, name: replace(c.optimizer[name], **changes)})


def exchanged(c: Checkpoint) -> InUse:
    return c.policy, {**c.optimizer, Q: c.optimizer[K], K: c.optimizer[Q]}


def moments_exchanged(c: Checkpoint) -> InUse:
    own = c.optimizer[Q]
    return state(Q, exp_avg=own.exp_avg_sq, exp_avg_sq=own.exp_avg)(c)


def one_step_before(c: Checkpoint) -> InUse:
    def earlier(v: torch.Tensor) -> torch.Tensor:
        return v / 0.999

    return c.policy, {
        name: replace(own, step=own.step - 1, exp_avg_sq=earlier(own.exp_avg_sq)) for name, own in c.optimizer.items()
    }


def weight(change: Callable[[torch.Tensor], torch.Tensor], name: str = Q) -> Callable[[Checkpoint], InUse]:
    """One parameter changed in place."""

    def changed(c: Checkpoint) -> InUse:
        c.policy.trainable[name].data = change(c.policy.trainable[name].data)
        return c.policy, c.optimizer

    return changed


def module(change: Callable[[Any], object]) -> Callable[[Checkpoint], InUse]:
    """One adapted module changed."""

    def changed(c: Checkpoint) -> InUse:
        change(c.policy.model.get_submodule("model.layers.0.self_attn.q_proj"))
        return c.policy, c.optimizer

    return changed


def not_adapted(c: Checkpoint) -> InUse:
    c.policy.model.get_submodule("model.layers.0.self_attn").q_proj = torch.nn.Identity()
    return c.policy, c.optimizer


def ends(change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Callable[[Checkpoint], InUse]:
    return lambda c: (replace(c.policy, eos_ids=change(c.policy.eos_ids)), c.optimizer)


FAULTS: dict[str, tuple[str, Callable[[Checkpoint], InUse], str]] = {
    "another beta": ("optimizer_scalars", state(Q, betas=(0.9, 0.99)), f"beta2 of {Q}"),
    "betas exchanged": ("optimizer_scalars", state(Q, betas=(0.999, 0.9)), f"beta1 of {Q}"),
    "a default eps": ("optimizer_scalars", state(Q, eps=1e-6), f"eps of {Q}"),
    "no decay": ("optimizer_scalars", state(Q, weight_decay=0.7), f"weight_decay of {Q}"),
    "another rate": ("optimizer_scalars", state(Q, lr=0.1), f"lr of {Q}"),
    "one step more": ("optimizer_scalars", state(Q, step=4), f"step of {Q}"),
    "states of the step before": ("optimizer_scalars", one_step_before, "step of model.layers"),
    "states of the step before, their moments": ("moments", one_step_before, "exp_avg_sq of model.layers"),
    "two states exchanged": ("moments", exchanged, f"exp_avg of {Q}"),
    "two moments exchanged": ("moments", moments_exchanged, f"exp_avg_sq of {Q}"),
    "zeroed": ("weights", weight(torch.zeros_like), Q),
    "transposed": ("weights", weight(lambda w: w.t().contiguous()), Q),
    "transposed in its shape": ("weights", weight(lambda w: w.t().reshape(w.shape)), Q),
    "not restored": ("weights", weight(lambda w: w * (1 + 1e-5)), Q),
    "not a number": ("weights", weight(lambda w: w * float("nan")), Q),
    "scaling off": ("adapter_scaling", module(lambda m: m.scale_layer(2.0)), "scaling of model.layers.0.self_attn.q"),
    "merged": ("adapter_scaling", module(lambda m: m.merge()), "model.layers.0.self_attn.q_proj is not active"),
    "disabled": ("adapter_scaling", module(lambda m: m.enable_adapters(False)), "self_attn.q_proj is not active"),
    "not adapted": ("adapter_scaling", not_adapted, "model.layers.0.self_attn.q_proj is not adapted"),
    "an end token missing": ("end_tokens", ends(lambda ids: ids[1:]), "ends no response"),
    "an end token too many": ("end_tokens", ends(lambda ids: (*ids, 7)), "token 7 is named by no file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_turns_its_field_red(checkpoint: Checkpoint, fault: str) -> None:
    expect_read_again(checkpoint)
    field, plant, says = FAULTS[fault]
    reading = checkpoint.read_again(*plant(checkpoint))
    assert getattr(reading, field) > 1e-6
    assert any(says in what for what in reading.differing[field]), reading.differing
    outcome = identity(field).check([run_with(reading)])
    assert outcome.verdict == "fail"
    assert says in outcome.reason


def identity(field: str) -> Check:
    return next(check for check in identities() if check.name == IDENTITIES[field])


def run_with(reading: SecondReading) -> RunRecord:
    return replace(result(4, 1, np.arange(4.0)), reading=reading)


def test_a_fault_of_the_loader_is_seen_in_a_run(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a neighbour step nothing else compares the states with their file."""

    def wrong(*arguments: Any) -> Any:
        mapped = read_optimizer(*arguments)
        mapped.states = {name: replace(own, betas=(0.9, 0.95)) for name, own in mapped.states.items()}
        return mapped

    monkeypatch.setattr("pytest_entropy.checkpoints.load.read_optimizer", wrong)
    probe = EntropyProbe(
        load_checkpoint(stored),
        ProbeConfig(B_U=4, G=3, max_new_tokens=6, diagnostics=()),
        prompts=[Prompt(f"Tom has {n} apples.") for n in range(20)],
        reward=lambda prompts, completions, **columns: [float(len(text)) for text in completions],
    )
    record = RunRecord.from_dict(probe.run(4).to_dict())
    assert record.reading.optimizer_scalars == pytest.approx(0.049, abs=1e-3)
    assert identity("optimizer_scalars").check([record]).verdict == "fail"
    assert identity("moments").check([record]).verdict == "pass"


@pytest.mark.parametrize(("ends_with", "B_E", "noted"), [(None, 86, True), (None, 4, False), (1, 86, False)])
def test_many_responses_of_which_none_ends_are_noted(
    checkpoint: Checkpoint, ends_with: int | None, B_E: int, noted: bool
) -> None:
    head = checkpoint.policy.model.get_output_embeddings()
    likelier = torch.zeros(head.out_features)
    likelier[checkpoint.policy.eos_ids[0]] = 50.0 if ends_with else -1e4
    head.register_forward_hook(lambda module, inputs, logits: logits + likelier)
    probe = EntropyProbe(
        checkpoint,
        ProbeConfig(B_U=4, G=3, max_new_tokens=2, diagnostics=(), estimator="rao_blackwell"),
        prompts=[Prompt(f"Tom has {n} apples.") for n in range(100)],
        reward=lambda prompts, completions, **columns: [float(len(text)) for text in completions],
    )
    record = probe.run(B_E)
    assert record.ended_share == (1.0 if ends_with else 0.0)
    assert any("none of 258 responses ended within 2 tokens" in note for note in record.notes) == noted


def test_what_cannot_be_read_says_why_and_is_no_pass(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "optimizer.pt").write_bytes(b"no archive")
    (tmp_path / "config.json").write_text("[1]")
    reading = PlainReading.of(tmp_path, None).compare(checkpoint.policy, checkpoint.optimizer)
    assert set(reading.unread) == set(IDENTITIES)
    for field in IDENTITIES:
        assert getattr(reading, field) is None
        outcome = identity(field).check([run_with(reading)])
        assert outcome.verdict == "inconclusive"
        assert "not read a second time" in outcome.message()


def test_inputs_without_files_are_no_pass(checkpoint: Checkpoint) -> None:
    for field in IDENTITIES:
        assert "not loaded from files" in identity(field).inapplicable([run_with(NO_FILES)])
        assert identity(field).check([run_with(SecondReading())]).verdict == "inconclusive"


def test_a_part_that_is_not_read_is_no_pass_and_hides_no_difference(checkpoint: Checkpoint) -> None:
    del checkpoint.second.weights[f"base_model.model.{K.replace('.default', '')}"]  # type: ignore[union-attr]
    reading = checkpoint.read_again(checkpoint.policy, checkpoint.optimizer)
    assert K in reading.unread["weights"]
    assert identity("weights").check([run_with(reading)]).verdict == "inconclusive"
    reading = checkpoint.read_again(*weight(torch.zeros_like)(checkpoint))
    assert identity("weights").check([run_with(reading)]).verdict == "fail"


def test_places_are_a_few_of_a_large_tensor() -> None:
    where = places("lm_head.weight", (150_000, 4096))
    assert where == places("lm_head.weight", (150_000, 4096)) != places("embed_tokens.weight", (150_000, 4096))
    assert {0, 150_000 * 4096 - 1} < set(where)
    assert len(where) == DRAWN + 2
    assert places("empty", (0, 3)) == ()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_default_of_a_library_is_no_fault(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    """Where a file names no end token, the class of the model or tokenizer may have one."""
    words = tiny.tokenizer()
    tiny.qwen2(len(words), eos_token_id=words.eos_token_id).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    record = (tmp_path / name).read_text().replace('"eos_token', '"former')
    (tmp_path / name).write_text(record)
    named = read_end_tokens(tmp_path, None)
    assert len(named.silent) == 1
    checkpoint.second.end_tokens = named
    more = replace(checkpoint.policy, eos_ids=(*sorted(named.ids), 9))
    reading = checkpoint.read_again(more, checkpoint.optimizer)
    assert "9 is a library's default" in reading.unread["end_tokens"]
    assert "end_tokens" not in reading.differing
