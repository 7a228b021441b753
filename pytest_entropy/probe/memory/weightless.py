"""A copy of a policy without data, on which work costs no memory and no time in proportion to its size."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from pytest_entropy.policy.action_values import NO_CONTEXT, ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import WIDEST
from pytest_entropy.probe.memory.without_data import META


def weightless(policy: Policy) -> Policy:
    """The policy with every parameter and buffer on the device ``meta``; shared ones stay shared.

    Args:
        policy: the policy, which is not changed.
    """
    memo: dict[int, object] = {}
    for module in policy.model.modules():
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in memo:
                empty = torch.empty_like(parameter, device=META, requires_grad=False)
                memo[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for buffer in module._buffers.values():
            if buffer is not None and id(buffer) not in memo:
                memo[id(buffer)] = torch.empty_like(buffer, device=META)
    model = copy.deepcopy(policy.model, memo)
    parameters = dict(model.named_parameters())
    copied = replace(policy, model=model, trainable={name: parameters[name] for name in policy.trainable})
    # Found out with numbers, which the copy has none of.
    vars(copied)["plain_head"] = policy.plain_head
    return copied


def longest_rollouts(prompts: int, group: int, *, prompt_tokens: int, limit: int, learns: bool) -> Rollouts:
    """P prompts x G responses that are all as long as they may be; their tokens mean nothing.

    Args:
        prompts: P.
        group: G.
        prompt_tokens: tokens of every prompt.
        limit: tokens of every response.
        learns: whether they carry control variate tables.
    """
    shape = (prompts, group, limit)
    tables = ControlVariateTables(
        torch.zeros(limit, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
        torch.full((WIDEST,), NO_CONTEXT),
        torch.zeros(WIDEST, dtype=torch.int64),
        torch.zeros(WIDEST, dtype=torch.float64),
        torch.zeros(0, dtype=torch.int64),
        torch.ones((), dtype=torch.float64),
        torch.ones((), dtype=torch.float64),
        torch.zeros(0, dtype=torch.float64),
    )
    return Rollouts(
        # One shorter by a token: padding needs a mask, with which attention holds more.
        prompt_ids=((0,) * prompt_tokens,) * (prompts - 1) + ((0,) * max(1, prompt_tokens - (prompts > 1)),),
        tokens=torch.zeros(shape, dtype=torch.int64),
        lengths=torch.full(shape[:2], limit),
        ended=torch.zeros(shape[:2], dtype=torch.bool),
        log_probs=torch.zeros(shape),
        entropies=torch.zeros(shape),
        control_variate=tables if learns else None,
    )
