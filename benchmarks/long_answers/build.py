"""Builds the checkpoint of the second workload: ``python -m benchmarks.long_answers.build [--out DIR]``.

A tokenizer and a base model from scratch on worked answers, then LoRA by Dr. GRPO steps, as the demo is made.  One
thread, every random number keyed by name; about forty minutes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.long_answers import ARTEFACT, CHECKPOINT, LIMIT
from benchmarks.long_answers.chains import ChainPrompts, solved
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.records.seeds import generator
from tools.demo.build import put
from tools.demo.finetune import G, answered, grpo, policy_of, save_step, with_adapter
from tools.demo.pretrain import new_model, pretrain, save_base, tokenizer_of

SEED, PRETRAINING_STEPS, PRETRAINING_BATCH, PRETRAINING_RATE = 1, 2500, 64, 3e-3
GRPO_STEPS, GRPO_PROMPTS, GRPO_RATE = int(CHECKPOINT.name.removeprefix("step_")), 32, 1e-4
EVALUATED = 256
# Responses decoded together.
ROWS = 256


def roll_out(policy: Policy, count: int, seed: int) -> tuple[Rollouts, torch.Tensor]:
    """Responses to ``count`` random chains, and their rewards ``[count, G]``.

    Args:
        policy: the policy.
        count: number of chains.
        seed: of their choice and of the responses.
    """
    prompts = ChainPrompts()
    chosen = [prompts[int(i)] for i in generator(seed, "prompts").choice(len(prompts), size=count, replace=False)]
    return answered(policy, chosen, seed, limit=LIMIT, at_once=ROWS // G)


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
    base = new_model(tokenizer, SEED, positions=512)
    loss = pretrain(
        base,
        tokenizer,
        lambda step: solved(PRETRAINING_BATCH, SEED, step),
        steps=PRETRAINING_STEPS,
        rate=PRETRAINING_RATE,
    )
    save_base(base, tokenizer, place / "base")
    model = with_adapter(base, SEED)
    policy = policy_of(model, tokenizer)
    before = described(*roll_out(policy, EVALUATED, 99))
    print(before, flush=True)
    optimizers = grpo(
        model,
        policy,
        lambda step: roll_out(policy, GRPO_PROMPTS, SEED * 1_000_003 + step),
        steps=GRPO_STEPS,
        rate=GRPO_RATE,
        limit=LIMIT,
        chunk_tokens=8192,
    )
    *_, optimizer = optimizers
    save_step(model, optimizer, place / CHECKPOINT.name)
    after = described(*roll_out(policy, EVALUATED, 99))
    return {"pretraining_loss": loss, "base": before, **after, "evaluated": EVALUATED, "G": G, "limit": LIMIT}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the checkpoint of the second workload.")
    parser.add_argument("--out", type=Path, default=ARTEFACT)
    record = put(parser.parse_args().out, build, "about.json")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
