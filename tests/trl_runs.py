"""Checkpoints by really running TRL's GRPOTrainer on the CPU, with every sampling default set against us.

``python -m tests.trl_runs DIR KIND...`` trains; the fixture :func:`trl_run` does that once per test session, in a
process of its own (TRL's warnings are not ours), under a lock that xdist's workers share.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
STEPS = 5
MAX_GRAD_NORM = 0.5

# What differs between the runs; rates are large so that a step stands out from the weights' float32 rounding.
ADAPTERS: dict[str, dict[str, Any] | None] = {
    "lora": {"target_modules": "all-linear"},
    "lora bias all": {"target_modules": ["q_proj", "v_proj", "up_proj"], "bias": "all", "use_rslora": True},
    "lora 8bit": {"target_modules": "all-linear", "r": 64},
    "full": None,
    "full 8bit": None,
    "Qwen3 DoRA": {"target_modules": "all-linear", "use_dora": True},
    "Llama patterns": {"target_modules": "all-linear", "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    "Llama head saved": {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "Gemma3 full": None,
    "Gemma2 paged 8bit": {"target_modules": "all-linear", "r": 64, "bias": "lora_only"},
}
# Beside the plain Qwen2 in float32: architecture, its options, and the precision the base is saved in.
BASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "Qwen3 DoRA": ("Qwen3", {}, "bfloat16"),
    "Llama patterns": ("Llama", {}, "float16"),
    "Llama head saved": ("Llama", {"tie_word_embeddings": False}, "float32"),
    "Gemma3 full": (
        "Gemma3Text",
        {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
        "float32",
    ),
    "Gemma2 paged 8bit": ("Gemma2", {"sliding_window": 16}, "float32"),
}
ACCUMULATED = "Llama patterns"  # this one's batch comes in two parts
# A LoRA whose trainer's every setting that bears on the objective is another than the default, with two rewards.
OBJECTIVE = "own objective"
OWN_OBJECTIVE: dict[str, Any] = {
    "loss_type": "bnpo",
    "scale_rewards": "batch",
    "temperature": 0.7,
    "num_generations": 2,
    "max_completion_length": 9,
    "beta": 0.04,
    "epsilon": 0.1,
    "mask_truncated_completions": True,
    "top_p": 0.9,
    "num_iterations": 2,
    "reward_weights": [1.0, 0.5],
    "max_steps": 2,
}
ENDED = "lora"  # this one's schedule reaches zero: the stored rate is 0.0


@dataclass(frozen=True)
class TrlRun:
    """Where one run's checkpoints are, one per optimizer step, and each step's gradient before clipping."""

    path: Path

    def checkpoint(self, step: int) -> Path:
        """``checkpoint-N``, after N steps."""
        return self.path / "out" / f"checkpoint-{step}"

    def gradient(self, step: int) -> dict[str, Any]:
        """The gradient of step N (from ``checkpoint-N-1`` to ``checkpoint-N``) by the trainer's parameter name."""
        from safetensors.torch import load_file

        return load_file(self.path / "gradients" / f"{step}.safetensors")


@pytest.fixture(scope="session")
def trl_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TrlRun]:
    """A function from a kind of run to its checkpoints; each kind is trained at most once per session."""
    pytest.importorskip("trl")
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    # Workers have a directory each below the session's.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trl_runs"

    @functools.cache
    def run(kind: str) -> TrlRun:
        if kind.endswith("8bit"):
            pytest.importorskip("bitsandbytes")
        place = shared / kind.replace(" ", "_")
        shared.mkdir(exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not (place / "done").exists():
                command = [sys.executable, "-m", "tests.trl_runs", str(place), kind]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
                assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
                (place / "done").touch()
        return TrlRun(place)

    return run


def train(place: Path, kind: str) -> None:
    """Five steps of GRPO on a tiny random model, a checkpoint after each."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined]

    class RecordingTrainer(GRPOTrainer):
        """GRPOTrainer that writes down each step's gradient before it is clipped."""

        def training_step(self, model: Any, *arguments: Any, **more: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(model, *arguments, **more)  # type: ignore[no-untyped-call]
            gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            save_file(gradients, place / "gradients" / f"{self.state.global_step + 1}.safetensors")
            return loss

    def distinct_characters(completions: list[str], **columns: Any) -> list[float | None]:
        return [len(set(text)) / 10 for text in completions]

    def length(completions: list[str], **columns: Any) -> list[float | None]:
        return [len(text) / 40 for text in completions]

    (place / "gradients").mkdir(parents=True)
    save_base(place / "base", kind)
    adapter = ADAPTERS["lora" if kind == OBJECTIVE else kind]
    settings = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "task_type": "CAUSAL_LM"}
    optimizer = "adamw_torch"
    if kind.endswith("8bit"):
        optimizer = "paged_adamw_8bit" if "paged" in kind else "adamw_8bit"
    parts = 2 if kind == ACCUMULATED else 1
    more = OWN_OBJECTIVE if kind == OBJECTIVE else {"num_generations": 4, "max_completion_length": 12}
    config = GRPOConfig(
        output_dir=str(place / "out"),
        optim=optimizer,
        learning_rate=1e-2,
        lr_scheduler_type="linear" if kind == ENDED else "constant",
        weight_decay=0.1,
        max_grad_norm=MAX_GRAD_NORM,
        save_steps=1,
        per_device_train_batch_size=8 // parts,
        gradient_accumulation_steps=parts,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
        seed=3,
        **{"max_steps": STEPS, **more},
    )
    trainer = RecordingTrainer(
        model=AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32),
        reward_funcs=[distinct_characters, length] if kind == OBJECTIVE else distinct_characters,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [f"Tom has {i} apples and buys 14 more." for i in range(40)]}),
        peft_config=LoraConfig(**{**settings, **adapter}) if adapter is not None else None,
    )
    trainer.train()


def save_base(place: Path, kind: str) -> None:
    """A random model (the plain one: attention biases, tied embeddings) whose generation defaults bend the sampling."""
    import torch
    from transformers import GenerationConfig

    from tests import tiny
    from tests.unit.checkpoints.test_matrix import build

    words = tiny.tokenizer()
    if kind in BASES:
        architecture, options, stored = BASES[kind]
        model = build(architecture, len(words), hidden_size=64, head_dim=16, **options).to(getattr(torch, stored))
    else:
        model = tiny.qwen2(len(words), hidden=64, eos_token_id=words.eos_token_id)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_k=5,
        top_p=0.8,
        repetition_penalty=1.2,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.eos_token_id,
    )
    model.save_pretrained(place)
    words.save_pretrained(place)


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
