"""Tokenizer and base model of the demo, from scratch on solved word problems of mixed quality."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from pytest_entropy.prompts.word_problems import SIZE, Problem, parts
from pytest_entropy.records.seeds import generator

VOCABULARY = 384
END = "<|end|>"
# How a response is written, and how often: a living policy has ways to do better and ways to do worse.
STYLES = {"careful": 0.45, "guess": 0.25, "untagged": 0.20, "chatty": 0.10}


def solution(problem: Problem, style: str, rng: np.random.Generator) -> str:
    """A response in think/answer format in one of the styles; only ``careful`` and ``chatty`` earn the reward."""
    work = f"{problem.left}{problem.sign}{problem.right}={problem.answer}"
    if style == "careful":
        return f"<think>{work}</think><answer>{problem.answer}</answer>"
    if style == "chatty":
        return f"<think>so {work} ok</think><answer>{problem.answer}</answer>"
    if style == "untagged":
        return f"<think>{work}</think>{problem.answer}"
    return f"<think>hm</think><answer>{rng.integers(2, 27)}</answer>"


def solved(count: int, seed: int) -> list[tuple[str, str]]:
    """(prompt, response) examples of random problems in random styles."""
    rng = generator(seed, "corpus")
    styles = rng.choice(list(STYLES), size=count, p=list(STYLES.values()))
    found = [parts(int(i)) for i in rng.integers(0, SIZE, size=count)]
    return [(p.prompt, solution(p, str(style), rng)) for p, style in zip(found, styles, strict=True)]


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer of the demo's corpus."""
    return tokenizer_of(prompt + response for prompt, response in solved(4000, seed))


def tokenizer_of(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE on a corpus, digits one by one; padding is the end token, as in many checkpoints."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END, pad_token=END)


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int, *, positions: int = 128) -> Qwen2ForCausalLM:
    """About 0.35 M parameters of Qwen2 architecture, with room for ``positions`` tokens."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    return Qwen2ForCausalLM(config)


def batch(
    tokenizer: PreTrainedTokenizerFast, examples: list[tuple[str, str]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, mask and labels of examples, padded on the right; the loss is on the response and its end."""
    rows, labels = [], []
    for prompt, response in examples:
        head = tokenizer(prompt)["input_ids"]
        tail = [*tokenizer(response)["input_ids"], tokenizer.eos_token_id]
        rows.append(head + tail)
        labels.append([-100] * len(head) + tail)
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.eos_token_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    target = torch.tensor([row + [-100] * (width - len(row)) for row in labels])
    return ids, mask, target


def pretrain(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Callable[[int], list[tuple[str, str]]],
    *,
    steps: int,
    rate: float,
) -> float:
    """Train on fresh (prompt, response) examples of each step with warm-up and cosine decay to ``rate`` / 100.

    Returns the mean loss of the last 50 steps.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses = []
    model.train()
    for step in range(steps):
        share = min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * max(share, 0.01)
        ids, mask, target = batch(tokenizer, examples(step))
        loss = model(input_ids=ids, attention_mask=mask, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 100 == 0:
            print(f"pretraining step {step}: loss {np.mean(losses[-100:]):.4f}", flush=True)
    # A gradient left behind would move the frozen base in the next optimizer's steps.
    model.zero_grad(set_to_none=True)
    model.eval()
    return float(np.mean(losses[-50:]))


def save_base(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Weights as safetensors, tokenizer, and sampling defaults as published models carry them."""
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=20,
        top_p=0.8,
        repetition_penalty=1.05,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    # transformers 5 writes a class name that 4 does not know; both know this one.
    settings = directory / "tokenizer_config.json"
    record = json.loads(settings.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
