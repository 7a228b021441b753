"""GRPO with LoRA on the demo's base model: the loop whose checkpoint the demo is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2ForCausalLM

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts, concatenate
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.update.objective import token_weights
from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.word_problems import SIZE, problem
from pytest_entropy.records.seeds import generator, uniforms
from pytest_entropy.rewards import evaluate, exact_answer

G = 8
MAX_NEW_TOKENS = 32


def with_adapter(model: Qwen2ForCausalLM, seed: int) -> PeftModel:
    """LoRA on all linear maps, dropout in the configuration as people have it."""
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules="all-linear"))


def policy_of(model: PeftModel, tokenizer: PreTrainedTokenizerFast) -> Policy:
    """The policy in eval mode; dropout stays off while sampling and in the gradient."""
    inner = model.get_base_model().eval()
    assert isinstance(inner, PreTrainedModel)
    trainable = {name: p for name, p in inner.named_parameters() if p.requires_grad}
    return Policy(inner, tokenizer, trainable, (tokenizer.eos_token_id,))


def roll_out(policy: Policy, count: int, seed: int) -> tuple[Rollouts, torch.Tensor]:
    """Responses to ``count`` random problems, and their rewards ``[count, G]``."""
    indices = generator(seed, "prompts").choice(SIZE, size=count, replace=False)
    prompts = [Prompt(text, {"answer": answer}) for text, answer in (problem(int(i)) for i in indices)]
    return answered(policy, prompts, seed, limit=MAX_NEW_TOKENS, at_once=count)


def answered(
    policy: Policy, prompts: Sequence[Prompt], seed: int, *, limit: int, at_once: int
) -> tuple[Rollouts, torch.Tensor]:
    """G responses of up to ``limit`` tokens to each prompt, and their rewards ``[count, G]``; a few prompts at once."""
    parts = []
    for first in range(0, len(prompts), at_once):
        some = range(first, min(first + at_once, len(prompts)))
        draws = np.stack([uniforms(seed, n, G, limit) for n in some])
        parts.append(policy.sample([policy.encode(prompts[n].content) for n in some], torch.from_numpy(draws)))
    rollouts = concatenate(parts)
    texts = [[policy.decode(ids) for ids in rollouts.responses(n)] for n in range(len(prompts))]
    return rollouts, torch.tensor(evaluate(exact_answer, prompts, texts), dtype=torch.float64)


def grpo(
    model: PeftModel,
    policy: Policy,
    draw: Callable[[int], tuple[Rollouts, torch.Tensor]],
    *,
    steps: int,
    rate: float,
    limit: int,
    chunk_tokens: int,
) -> Iterator[torch.optim.AdamW]:
    """Dr. GRPO steps with torch's AdamW over *all* parameters, frozen ones too, as the old trainer had it.

    ``draw`` gives a step's responses of up to ``limit`` tokens with their rewards.  Yields the optimizer after every
    step.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    for step in range(steps):
        rollouts, rewards = draw(step)
        weights = token_weights(rewards, rollouts.lengths, "dr_grpo", max_new_tokens=limit)
        gradient = policy_gradient(policy, rollouts, weights, chunk_tokens=chunk_tokens)
        for name, parameter in policy.trainable.items():
            parameter.grad = gradient[name].to(parameter.dtype)
        optimizer.step()
        if step % 5 == 0 or step + 1 == steps:
            nats = float(rollouts.entropies.sum(-1).mean())
            length = float(rollouts.lengths.double().mean())
            print(
                f"grpo step {step}: reward {float(rewards.mean()):.3f}, entropy {nats:.3f} nats, length {length:.1f}",
                flush=True,
            )
        yield optimizer


def save_step(model: PeftModel, optimizer: torch.optim.AdamW, directory: Path) -> None:
    """The seed's layout: ``model/`` with the adapter, ``optimizer.pt`` beside it; the base named relatively."""
    model.save_pretrained(str(directory / "model"))
    (directory / "model" / "README.md").unlink(missing_ok=True)
    config = directory / "model" / "adapter_config.json"
    record = json.loads(config.read_text())
    record["base_model_name_or_path"] = "../../base"
    # Sets have no order of their own; written sorted, the file is the same every time.
    record["target_modules"] = sorted(record["target_modules"])
    config.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    torch.save(optimizer.state_dict(), directory / "optimizer.pt")
