"""Builds the demo checkpoint: ``python -m tools.demo.build [--out DIR]``.

Deterministic: one thread, every random number keyed by name.  Five to fifteen minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import peft
import tokenizers
import torch
import transformers

from pytest_entropy.checkpoints.demo import CHECKPOINT, PATH
from pytest_entropy.policy.policy import Policy
from tools.demo.finetune import (
    MAX_NEW_TOKENS,
    G,
    grpo,
    policy_of,
    roll_out,
    save_step,
    with_adapter,
)
from tools.demo.pretrain import new_model, pretrain, save_base, solved, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """The numbers the demo is made with."""

    seed: int = 1
    pretraining_steps: int = 1500
    pretraining_batch: int = 128
    grpo_steps: int = 30
    grpo_prompts: int = 48
    grpo_rate: float = 2e-4
    evaluation_prompts: int = 512
    evaluation_seed: int = 99


def build(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Train everything and put it at ``out`` in one move; returns the record."""
    return put(out, lambda place: _train(place, recipe), "demo.json")


def put(out: Path, train: Callable[[Path], dict[str, Any]], name: str) -> dict[str, Any]:
    """Let ``train`` fill a directory, add the record it returns as ``name``, and put all at ``out`` in one move."""
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, for a rename does not cross file systems.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".build-") as scratch, _deterministic():
        # The scratch directory may lie in a checkout: git must not pick up half a build.
        (Path(scratch) / ".gitignore").write_text("*\n")
        place = Path(scratch) / "artefact"
        record = train(place)
        (place / name).write_text(json.dumps(record, indent=2) + "\n")
        for file in place.rglob("*"):
            if file.is_file():
                # safetensors leaves its files readable by their owner alone.
                file.chmod(0o644)
        if out.exists():
            shutil.rmtree(out)
        os.replace(place, out)
    return record


@contextmanager
def _deterministic() -> Iterator[None]:
    """One thread and deterministic algorithms; afterwards the caller's settings again."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def _train(place: Path, recipe: Recipe) -> dict[str, Any]:
    tokenizer = train_tokenizer(recipe.seed)
    base = new_model(tokenizer, recipe.seed)
    loss = pretrain(
        base,
        tokenizer,
        lambda step: solved(recipe.pretraining_batch, recipe.seed * 1_000_003 + step),
        steps=recipe.pretraining_steps,
        rate=4e-3,
    )
    save_base(base, tokenizer, place / "base")
    parameters = sum(p.numel() for p in base.parameters())
    model = with_adapter(base, recipe.seed)
    policy = policy_of(model, tokenizer)
    # A new adapter is the identity: this is the base model.
    before = evaluation(policy, recipe)
    optimizers = grpo(
        model,
        policy,
        lambda step: roll_out(policy, recipe.grpo_prompts, recipe.seed * 1_000_003 + step),
        steps=recipe.grpo_steps,
        rate=recipe.grpo_rate,
        limit=MAX_NEW_TOKENS,
        chunk_tokens=16384,
    )
    for step, optimizer in enumerate(optimizers, start=1):
        if step >= recipe.grpo_steps - 1:
            save_step(model, optimizer, place / f"step_{step}")
    files = sorted(file for file in place.rglob("*") if file.is_file())
    return {
        "recipe": asdict(recipe),
        "group_size": G,
        "max_new_tokens": MAX_NEW_TOKENS,
        "temperature": policy.temperature,
        "entropy_unit": "nats per response",
        "pretraining_loss": loss,
        "parameters": {"base": parameters, "trainable": sum(p.numel() for p in policy.trainable.values())},
        **evaluation(policy, recipe),
        "base": before,
        "bytes": {str(file.relative_to(place)): file.stat().st_size for file in files},
        "sha256": {
            str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.suffix in (".safetensors", ".pt")
        },
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft, tokenizers, numpy)},
    }


def evaluation(policy: Policy, recipe: Recipe) -> dict[str, Any]:
    """Mean reward and entropy per response at T = 1, with standard errors over prompts."""
    rollouts, rewards = roll_out(policy, recipe.evaluation_prompts, recipe.evaluation_seed)
    per_prompt = {
        "reward": rewards.mean(1),
        "entropy": rollouts.entropies.double().sum(-1).mean(1),
        "length": rollouts.lengths.double().mean(1),
    }
    record = {name: {"mean": float(x.mean()), "se": float(x.std() / len(x) ** 0.5)} for name, x in per_prompt.items()}
    return {**record, "ended_share": float(rollouts.ended.double().mean())}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the demo checkpoint.")
    parser.add_argument("--out", type=Path, default=PATH, help="directory to write (default: the bundled one)")
    out = parser.parse_args().out
    record = build(out, Recipe())
    assert (out / CHECKPOINT.name).is_dir(), f"the package expects {CHECKPOINT.name}"
    print(json.dumps({key: record[key] for key in ("reward", "entropy", "length", "ended_share")}, indent=2))


if __name__ == "__main__":
    main()
