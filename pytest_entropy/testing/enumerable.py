"""A policy small enough to enumerate every response, in float64: the oracle of every expectation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.testing import tiny

VOCABULARY, LIMIT, END = 5, 3, 1
PROMPTS = [[2, 3], [4, 2, 3], [3]]


def policy() -> Policy:
    """A random Qwen2 with five tokens, responses of one to three."""
    return tiny.policy(tiny.qwen2(VOCABULARY, hidden=8, layers=1), dtype=torch.float64)


def responses() -> Iterator[list[int]]:
    """Every response: sequences that end with the first end token or at LIMIT."""
    for length in range(1, LIMIT + 1):
        for body in itertools.product(range(VOCABULARY), repeat=length):
            if END not in body[:-1] and (body[-1] == END or length == LIMIT):
                yield list(body)


def expectation(
    policy: Policy, prompt: list[int], value: Callable[[list[int], torch.Tensor], torch.Tensor | float]
) -> torch.Tensor:
    """sum_t pi(t | p) value(t, log pi(t)) over all responses, differentiable."""
    total = torch.zeros((), dtype=torch.float64)
    mass = 0.0
    for response in responses():
        logits = policy.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].double()
        log_p = torch.log_softmax(logits / policy.temperature, -1)
        log_pi = log_p.gather(1, torch.tensor(response).unsqueeze(1)).sum()
        total = total + log_pi.exp() * value(response, log_pi)
        mass += float(log_pi.exp().detach())
    assert abs(mass - 1) < 1e-9
    return total


def entropy(policy: Policy) -> torch.Tensor:
    """H averaged over the prompts, nats per response, differentiable."""
    return torch.stack([expectation(policy, p, lambda _, log_pi: -log_pi) for p in PROMPTS]).mean()


def length(policy: Policy) -> torch.Tensor:
    """E[L] averaged over the prompts, differentiable."""
    return torch.stack([expectation(policy, p, lambda response, _: len(response)) for p in PROMPTS]).mean()


def gradient(policy: Policy, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of a value of the enumerable policy, such as its entropy, by live parameter name."""
    grads = torch.autograd.grad(value, list(policy.trainable.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(policy.trainable.items(), grads, strict=True)
    }


def dot(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> float:
    """Inner product over all parameters."""
    return sum(float((left[name] * right[name]).sum()) for name in left)


def random_prompts(count: int, seed: int) -> list[list[int]]:
    """Independent prompts, with replacement from the few there are."""
    return [PROMPTS[i] for i in np.random.default_rng(seed).integers(0, len(PROMPTS), count)]
