"""The least a measurement can cost: generating the responses, and one plain forward-backward over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.prefill import left_padded
from pytest_entropy.policy.rollouts import Rollouts


def generate(policy: Policy, prompt_ids: Sequence[Sequence[int]], group: int, limit: int) -> torch.Tensor:
    """transformers' ``generate`` on the whole batch, sampling from softmax(logits / T) and nothing else."""
    ids, kept = left_padded(policy, prompt_ids)
    drawn: torch.Tensor = policy.model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=kept,
        do_sample=True,
        temperature=policy.temperature,
        top_k=0,
        top_p=1.0,
        num_return_sequences=group,
        max_new_tokens=limit,
        pad_token_id=policy.eos_ids[0],
    )
    return drawn


def forward(policy: Policy, rollouts: Rollouts, *, rows: int = 64) -> None:
    """One forward over prompt + response of every sequence, without gradients."""
    with torch.no_grad():
        for ids, kept in _batches(policy, rollouts, rows):
            _log_prob(policy, ids, kept)


def forward_backward(policy: Policy, rollouts: Rollouts, *, rows: int = 64) -> None:
    """One plain training step's forward and backward over the same sequences; gradients are summed and dropped."""
    parameters = list(policy.trainable.values())
    for ids, kept in _batches(policy, rollouts, rows):
        with torch.enable_grad():
            torch.autograd.grad(_log_prob(policy, ids, kept), parameters)


def _log_prob(policy: Policy, ids: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    positions = (kept.cumsum(-1) - 1).clamp(min=0)
    logits = policy.model(input_ids=ids, attention_mask=kept, position_ids=positions, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * kept[:, 1:].flatten()).sum()


def _batches(policy: Policy, rollouts: Rollouts, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Left-padded (ids, mask) of sequences of similar length, ``rows`` at a time."""
    sequences = [
        list(rollouts.prompt_ids[n]) + response for n in range(len(rollouts)) for response in rollouts.responses(n)
    ]
    sequences.sort(key=len)
    for start in range(0, len(sequences), rows):
        yield left_padded(policy, sequences[start : start + rows])
