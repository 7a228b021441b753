"""Builds the checkpoint of the second workload: ``python -m benchmarks.long_answers.build [--out DIR]``.

A tokenizer and a base model from scratch on worked answers, then LoRA by Dr. GRPO steps, as the demo is made.  One
thread, every random number keyed by name; about forty minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from benchmarks.long_answers import ARTEFACT, CHECKPOINT, LIMIT
from benchmarks.long_answers.chains import ChainPrompts, solved
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts, concatenate
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.update.objective import token_weights
from pytest_entropy.records.seeds import generator, uniforms
from pytest_entropy.rewards import evaluate, exact_answer
from tools.demo.finetune import policy_of, save_step, with_adapter
from tools.demo.pretrain import batch, save_base, tokenizer_of

SEED, PRETRAINING_STEPS, PRETRAINING_BATCH, PRETRAINING_RATE = 1, 2500, 64, 3e-3
GRPO_STEPS, GRPO_PROMPTS, GRPO_RATE, G = int(CHECKPOINT.name.removeprefix("step_")), 32, 1e-4, 8
EVALUATED = 256
# Responses decoded together.
ROWS = 256


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """About 0.35 M parameters of Qwen2 architecture."""
    torch.manual_seed(SEED)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    return Qwen2ForCausalLM(config)


def pretrain(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> float:
    """Train on fresh worked answers with warm-up and cosine decay; the mean loss of the last 50 steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PRETRAINING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    model.train()
    for step in range(PRETRAINING_STEPS):
        share = min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / PRETRAINING_STEPS))
        for group in optimizer.param_groups:
            group["lr"] = PRETRAINING_RATE * max(share, 0.01)
        ids, mask, target = batch(tokenizer, solved(PRETRAINING_BATCH, SEED, step))
        loss = model(input_ids=ids, attention_mask=mask, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 100 == 0:
            print(f"pretraining step {step}: loss {np.mean(losses[-100:]):.4f}", flush=True)
    model.zero_grad(set_to_none=True)
    model.eval()
    return float(np.mean(losses[-50:]))


def roll_out(policy: Policy, count: int, seed: int) -> tuple[Rollouts, torch.Tensor]:
    """Responses to ``count`` random chains, and their rewards ``[count, G]``.

    Args:
        policy: the policy.
        count: number of chains.
        seed: of their choice and of the responses.
    """
    prompts = ChainPrompts()
    chosen = [prompts[int(i)] for i in generator(seed, "prompts").choice(len(prompts), size=count, replace=False)]
    ids = [policy.encode(prompt.content) for prompt in chosen]
    size = ROWS // G
    parts = []
    for i in range(0, count, size):
        draws = [uniforms(seed, n, G, LIMIT) for n in range(i, min(i + size, count))]
        parts.append(policy.sample(ids[i : i + size], torch.from_numpy(np.stack(draws))))
    rollouts = concatenate(parts)
    texts = [[policy.decode(row) for row in rollouts.responses(n)] for n in range(count)]
    return rollouts, torch.tensor(evaluate(exact_answer, chosen, texts), dtype=torch.float64)


def described(rollouts: Rollouts, rewards: torch.Tensor) -> dict[str, float]:
    """Mean reward, nats and tokens of a response, and the share that ended."""
    return {
        "reward": float(rewards.mean()),
        "entropy": float(rollouts.entropies.double().sum(-1).mean()),
        "length": float(rollouts.lengths.double().mean()),
        "ended_share": float(rollouts.ended.double().mean()),
    }


def build(place: Path) -> dict[str, Any]:
    """Train everything into a directory; what the checkpoint is like."""
    tokenizer = tokenizer_of(f"{prompt}{response}" for prompt, response in solved(4000, SEED, "tokenizer"))
    base = new_model(tokenizer)
    loss = pretrain(base, tokenizer)
    save_base(base, tokenizer, place / "base")
    model = with_adapter(base, SEED)
    policy = policy_of(model, tokenizer)
    before = described(*roll_out(policy, EVALUATED, 99))
    print(before, flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=GRPO_RATE, weight_decay=0.01)
    for step in range(GRPO_STEPS):
        rollouts, rewards = roll_out(policy, GRPO_PROMPTS, SEED * 1_000_003 + step)
        weights = token_weights(rewards, rollouts.lengths, "dr_grpo", max_new_tokens=LIMIT)
        gradient = policy_gradient(policy, rollouts, weights, chunk_tokens=8192)
        for name, parameter in policy.trainable.items():
            parameter.grad = gradient[name].to(parameter.dtype)
        optimizer.step()
        print(f"grpo step {step}: {described(rollouts, rewards)}", flush=True)
    save_step(model, optimizer, place / CHECKPOINT.name)
    after = described(*roll_out(policy, EVALUATED, 99))
    return {"pretraining_loss": loss, "base": before, **after, "evaluated": EVALUATED, "G": G, "limit": LIMIT}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the checkpoint of the second workload.")
    parser.add_argument("--out", type=Path, default=ARTEFACT)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".build-") as scratch:
        (Path(scratch) / ".gitignore").write_text("*\n")
        place = Path(scratch) / "artefact"
        record = build(place)
        (place / "about.json").write_text(json.dumps(record, indent=2) + "\n")
        for file in place.rglob("*"):
            if file.is_file():
                file.chmod(0o644)
        if out.exists():
            shutil.rmtree(out)
        os.replace(place, out)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
