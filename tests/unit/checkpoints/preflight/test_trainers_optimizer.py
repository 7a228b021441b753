"""The trainer's own word on its optimizer, against checkpoints whose states have AdamW's very keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from pytest_entropy.checkpoints import find_checkpoint
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.errors import UsageError
from tests.unit.checkpoints.strangers import copy
from tests.unit.checkpoints.trainer_files import GRPOConfig, saved

__all__ = ["copy"]


@pytest.mark.parametrize("name", ["grokadamw", "stable_adamw", "adafactor", "apollo_adamw", "galore_adamw", "lomo"])
def test_another_optimizer_in_transformers_own_file_is_refused(copy: Path, name: str) -> None:
    torch.save(TrainingArguments(output_dir=str(copy), optim=name, use_cpu=True), copy / "training_args.bin")
    with pytest.raises(UsageError, match=rf"training_args.bin says that optim '{name}' trained it, which is not AdamW"):
        screen(find_checkpoint(copy))


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"])
def test_adamw_by_any_of_transformers_names_passes(copy: Path, name: str) -> None:
    torch.save(TrainingArguments(output_dir=str(copy), optim=name, use_cpu=True), copy / "training_args.bin")
    screen(find_checkpoint(copy))


WORDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "a text": ({"optim": "muon"}, "optim 'muon'"),
    "axolotl's": ({"optim": "adamw_torch", "alternate_optimizer": "adopt_adamw"}, "alternate_optimizer 'adopt_adamw'"),
    "DeepSpeed's LAMB": ({"deepspeed": {"optimizer": {"type": "Lamb"}}}, "DeepSpeed's optimizer 'Lamb'"),
    "DeepSpeed's Adam with L2 decay": (
        {"deepspeed": {"optimizer": {"type": "Adam", "params": {"adam_w_mode": False, "weight_decay": 0.1}}}},
        "DeepSpeed's optimizer 'Adam' with adam_w_mode false",
    ),
    "DeepSpeed's AdamW": ({"deepspeed": {"optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}}, None),
    "a file of DeepSpeed's": ({"optim": "adamw_torch", "deepspeed": "ds.json"}, None),
    "none": ({"optim": None, "alternate_optimizer": None}, None),
    "not a text": ({"optim": 3}, None),
}


@pytest.mark.parametrize("case", list(WORDS))
def test_other_trainers_words(copy: Path, case: str) -> None:
    values, message = WORDS[case]
    (copy / "training_args.bin").write_bytes(saved(GRPOConfig(**values)))
    if message is None:
        screen(find_checkpoint(copy))
    else:
        with pytest.raises(UsageError, match=message):
            screen(find_checkpoint(copy))


def test_a_file_that_cannot_be_read_says_nothing(copy: Path) -> None:
    (copy / "training_args.bin").write_bytes(b"x" * 40)
    screen(find_checkpoint(copy))
