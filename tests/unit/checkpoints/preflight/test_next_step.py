"""An optimizer that cannot take the adapter's next step is refused by its file's outline, before torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from pytest_entropy.checkpoints import find_checkpoint
from pytest_entropy.checkpoints.load import load
from pytest_entropy.checkpoints.metadata import read_metadata
from pytest_entropy.checkpoints.preflight.next_step import require_next_step
from pytest_entropy.errors import UsageError
from tests import tiny
from tests.fresh_process import succeeds
from tests.unit.checkpoints.test_layouts import save_full


@pytest.fixture
def step(tmp_path: Path) -> Path:
    return tiny.save_seed_checkpoint(tmp_path)


def check(step: Path, *, learning_rate: float | None = None, dtype: str = "float32") -> None:
    files = find_checkpoint(step)
    require_next_step(files, read_metadata(files), learning_rate=learning_rate, dtype=dtype)


def refusal(step: Path, **settings: Any) -> str:
    with pytest.raises(UsageError) as refused:
        check(step, **settings)
    return str(refused.value)


def changed(step: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    record = torch.load(step / "optimizer.pt", weights_only=True)
    change(record)
    torch.save(record, step / "optimizer.pt")
    return step


def test_a_sound_checkpoint_passes(step: Path) -> None:
    check(step)
    files = find_checkpoint(step)
    # Seven modules in two layers, with two matrices each.
    assert read_metadata(files).states == 28


STATES: dict[str, tuple[Callable[[dict[str, Any]], object], int]] = {
    "one too few": (lambda record: record["state"].popitem(), 27),
    "one too many": (lambda record: record["state"].update({max(record["state"]) + 1: {}}), 29),
}


@pytest.mark.parametrize("case", STATES)
def test_as_many_states_as_tensors_are_needed(step: Path, case: str) -> None:
    change, states = STATES[case]
    changed(step, change)
    assert refusal(step) == (
        f"{step / 'optimizer.pt'} holds {states} states, and adapter {step / 'model'} has 28 tensors, each of which "
        "needs one: is this the optimizer of another model or adapter?"
    )
    with pytest.raises(UsageError):
        load(find_checkpoint(step))


def test_the_optimizer_of_a_whole_model_beside_an_adapter_is_refused(step: Path, tmp_path: Path) -> None:
    record, names = save_full(tmp_path / "full")
    torch.save(record, step / "optimizer.pt")
    assert f"holds {len(names)} states, and adapter" in refusal(step)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"use_dora": True},
        {"trainable_token_indices": [3, 5]},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
    ids=str,
)
def test_adapters_of_all_kinds_have_as_many_states_as_tensors(tmp_path: Path, settings: dict[str, Any]) -> None:
    words = tiny.tokenizer()
    base = tiny.qwen2(len(words), eos_token_id=words.eos_token_id, tie_word_embeddings=False)
    base.save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    wrapped = get_peft_model(base, LoraConfig(**{"r": 4, "target_modules": "all-linear", **settings}))
    optimizer = tiny.trained_step(wrapped, [p for p in wrapped.parameters() if p.requires_grad])
    wrapped.save_pretrained(str(tmp_path / "step_1" / "model"))
    torch.save(optimizer.state_dict(), tmp_path / "step_1" / "optimizer.pt")
    tiny.edit_json(tmp_path / "step_1" / "model" / "adapter_config.json", base_model_name_or_path="../../base")
    check(tmp_path / "step_1")


def test_an_optimizer_before_its_first_step_is_refused(step: Path) -> None:
    changed(step, lambda record: record.update(state={}))
    assert "holds an optimizer that has not taken a step" in refusal(step)


def test_a_rate_has_to_be_somewhere(step: Path) -> None:
    changed(step, lambda record: [group.update(lr=0.0) for group in record["param_groups"]])
    assert refusal(step) == (
        f"checkpoint {step}: the checkpoint stores no usable learning rate (a finished schedule leaves 0.0); say what "
        "the next step's rate is with --learning-rate"
    )
    check(step, learning_rate=1e-4)
    changed(step, lambda record: [group.update(initial_lr=1e-3) for group in record["param_groups"]])
    check(step)


def test_a_rate_that_only_loading_reads_is_left_to_it(step: Path) -> None:
    changed(step, lambda record: [group.update(lr=torch.tensor(0.0)) for group in record["param_groups"]])
    check(step)


def test_bfloat16_is_for_adapters(step: Path, tmp_path: Path) -> None:
    check(step, dtype="bfloat16")
    save_full(tmp_path / "checkpoint-1")
    assert "--dtype bfloat16 is for the frozen base of an adapter" in refusal(
        tmp_path / "checkpoint-1", dtype="bfloat16"
    )
    check(tmp_path / "checkpoint-1")


def test_torch_is_not_imported(step: Path) -> None:
    code = (
        "import sys\n"
        "from pytest_entropy.checkpoints import find_checkpoint\n"
        "from pytest_entropy.checkpoints.metadata import read_metadata\n"
        "from pytest_entropy.checkpoints.preflight.architecture import require_known_architecture\n"
        "from pytest_entropy.checkpoints.preflight.next_step import require_next_step\n"
        "files = find_checkpoint(sys.argv[1])\n"
        "require_known_architecture(files)\n"
        "require_next_step(files, read_metadata(files), learning_rate=None, dtype='float32')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    succeeds(code, step)
