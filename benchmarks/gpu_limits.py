"""The two limits of a device, measured, and the least time that a phase can take under each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import Qwen2Config

from pytest_entropy.policy.policy import Policy

# Weights are frozen below a LoRA: forward, and backward to the activations.
PASSES = {"sampling": 1, "gradient": 2, "derivatives": 2}


@dataclass(frozen=True)
class Limits:
    """Bytes read and written per second by a copy, and floating-point operations per second of a matrix product."""

    bytes_per_second: float
    flop_per_second: float


def measure_limits(device: torch.device, dtype: torch.dtype, *, tiny: bool) -> Limits:
    """Measure both on the device, the best of several tries each."""
    count, side = (2**20, 256) if tiny else (2**29, 8192)
    source = torch.ones(count, dtype=torch.bfloat16, device=device)
    target = torch.empty_like(source)
    factor = torch.ones(side, side, dtype=dtype, device=device)
    copy = _best(lambda: target.copy_(source), device)
    product = _best(lambda: factor @ factor, device)
    return Limits(2 * count * source.element_size() / copy, 2 * side**3 / product)


def _best(work: Callable[[], object], device: torch.device, tries: int = 7) -> float:
    """Least seconds of one call."""
    seconds = []
    for _ in range(tries):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Work:
    """What a phase works on: P prompts of ``prompt`` tokens, with G responses of ``length`` tokens to each."""

    prompts: int
    G: int
    prompt: int
    length: float

    @property
    def response_tokens(self) -> float:
        """Tokens of all responses."""
        return self.prompts * self.G * self.length

    @property
    def tokens(self) -> float:
        """Tokens of all responses and of the prompts, each prompt once."""
        return self.response_tokens + self.prompts * self.prompt


def decoded_bytes(policy: Policy, work: Work, rows: int) -> float:
    """Bytes that decoding has to read: at each step all weights, once per piece, and the cache of every row.

    Args:
        policy: the model.
        work: the batch.
        rows: responses decoded together.
    """
    config = policy.model.config
    assert isinstance(config, Qwen2Config)
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    heads = config.num_key_value_heads or config.num_attention_heads
    cached = 2 * config.num_hidden_layers * heads * (config.hidden_size // config.num_attention_heads)
    per_token = cached * policy.model.dtype.itemsize
    responses = work.prompts * work.G
    pieces = math.ceil(responses / rows)
    # The mean row has its prompt and half of its response behind it.
    return work.length * (pieces * weights + responses * (work.prompt + work.length / 2) * per_token)


def shares(policy: Policy, phase: str, work: Work, seconds: float, limits: Limits, rows: int) -> dict[str, float]:
    """A phase's share of each limit: the least time that the limit allows over the time it took.

    Args:
        policy: the model.
        phase: ``sampling``, ``gradient`` or ``derivatives``.
        work: the batch.
        seconds: that the phase took.
        limits: of the device.
        rows: responses decoded together.
    """
    parameters = sum(p.numel() for p in policy.model.parameters())
    flop = 2 * parameters * work.tokens * PASSES[phase]
    out = {"flop": flop / limits.flop_per_second / seconds}
    if phase == "sampling":
        out["bandwidth"] = decoded_bytes(policy, work, rows) / limits.bytes_per_second / seconds
    return out
