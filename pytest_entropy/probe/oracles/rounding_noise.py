"""The noise of rounding in a run: the same responses through the bare model in two splits of the batch.

A sampler multiplies one position of many rows with the weights, a scorer all positions of a row.  Weights coarser than
float32 make of that other numbers, by how much depends on the model, the tokens and the machine.  So it is measured, on
a few prompts, by the model alone: neither split knows padding, positions, masks or distributions of the policy, whose
faults therefore do not count as noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.oracles.one_response import expected_values, prefix_values
from pytest_entropy.probe.oracles.run import defined_weights
from pytest_entropy.probe.oracles.taught import taught_by, value_of, values_at
from pytest_entropy.stats.largest import largest

# Weights with a larger unit roundoff have their noise measured; float32's is 1.2e-7.
COARSE = 1e-6
# The prompts with most entropy, whose responses are scored again, and how many of them with derivatives.
PROMPTS, DERIVATIVES = 4, 2
# Tokens of a response that are decoded one by one.
DECODED = 64


@dataclass(frozen=True)
class Scores:
    """log pi(t_k), H_k and pi of one response, ``[L]`` nats twice and ``[L, V]``, float64."""

    log_probs: torch.Tensor
    entropies: torch.Tensor
    p: torch.Tensor


def is_coarse(policy: Policy) -> bool:
    """Whether some of the model's weights are coarser than float32."""
    return policy.rounding > COARSE


def rounding_noise(
    policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor], estimator: str
) -> dict[str, float]:
    """The noise of rounding by the names of :class:`Diagnostics`; empty where weights are float32 or finer.

    - ``noise_log_probs``, ``noise_entropies``: whole responses against token by token, largest difference in nats.
    - ``noise_nats``: of a response's sum of entropies, largest difference in nats.
    - ``noise_scalars``: of s_n, whole responses against a group after its prompt, relative: :func:`scalar_noise`.

    Args:
        policy: its bare model is run.
        rollouts: P prompts x G responses.
        direction: u by live parameter name.
        estimator: name of the estimator that defines s_n.
    """
    if not is_coarse(policy):
        return {}
    by_entropy = rollouts.entropies.double().sum((1, 2)).argsort(descending=True).tolist()
    found: dict[str, list[float]] = {"noise_log_probs": [], "noise_entropies": [], "noise_nats": []}
    for n in by_entropy[:PROMPTS]:
        for name, value in token_noise(policy, rollouts, n).items():
            found[name].append(value)
    scalars = [scalar_noise(policy, rollouts, n, direction, estimator) for n in by_entropy[:DERIVATIVES]]
    return {name: largest(values) for name, values in found.items()} | {"noise_scalars": largest(scalars)}


@torch.no_grad()
def token_noise(policy: Policy, rollouts: Rollouts, n: int) -> dict[str, float]:
    """Largest differences between whole responses and token by token, by the names of :func:`rounding_noise`.

    Args:
        policy: its bare model is run.
        rollouts: the batch that holds the prompt.
        n: which of its prompts.
    """
    prompt = list(rollouts.prompt_ids[n])
    responses = [list(response)[:DECODED] for response in rollouts.responses(n)]
    found: dict[str, list[float]] = {"noise_log_probs": [], "noise_entropies": [], "noise_nats": []}
    whole = [_whole(policy, prompt, response) for response in responses]
    for one, other in zip(whole, _decoded(policy, prompt, responses), strict=True):
        apart = one.entropies - other.entropies
        found["noise_log_probs"].append(float((one.log_probs - other.log_probs).abs().max()))
        found["noise_entropies"].append(float(apart.abs().max()))
        found["noise_nats"].append(abs(float(apart.sum())))
    return {name: largest(values) for name, values in found.items()}


def scalar_noise(
    policy: Policy, rollouts: Rollouts, n: int, direction: Mapping[str, torch.Tensor], estimator: str
) -> float:
    """Noise of s_n = sum_i <X_n, u>_i over parameter tensors i: sum_i |difference_i| / sum_i |<X_n, u>_i|.

    Differences of tensors are added without their signs, so that two splits that agree by chance do not make it small.

    Args:
        policy: its bare model is run, one response at a time, and all responses of the group after their prompt.
        rollouts: the batch that holds the prompt.
        n: which of its prompts.
        direction: u by live parameter name.
        estimator: name of the estimator that defines X_n.
    """
    along = along_slope(policy.model, direction)
    prompt, responses = list(rollouts.prompt_ids[n]), [list(response) for response in rollouts.responses(n)]
    of_prefixes = [prefix_values(policy, prompt, response, value_of(rollouts)) for response in responses]
    with torch.enable_grad():
        alone = [_whole(policy, prompt, response) for response in responses]
        first = _products(policy, rollouts, n, alone, of_prefixes, along, estimator)
        del alone
        second = _products(policy, rollouts, n, _after_prompt(policy, prompt, responses), of_prefixes, along, estimator)
    size = sum(map(abs, first))
    gap = sum(abs(a - b) for a, b in zip(first, second, strict=True))
    return gap / size if size else gap


def _products(
    policy: Policy,
    rollouts: Rollouts,
    n: int,
    rows: Sequence[Scores],
    of_prefixes: list[list[float]],
    along: Mapping[str, torch.Tensor],
    estimator: str,
) -> list[float]:
    """<X_n, u>_i of every parameter tensor i by a plain backward through these scores."""
    tables = [[row.log_probs.tolist() for row in rows], [row.entropies.tolist() for row in rows]]
    taught = taught_by(rollouts, estimator)
    values = values_at(taught, rollouts, n)
    expected = [expected_values(row.p, own) if own else None for row, own in zip(rows, values, strict=True)]
    means = [[] if own is None else own.tolist() for own in expected]
    weights = defined_weights(estimator, rollouts, n, tables[0], tables[1], means, of_prefixes, taught)
    total = torch.zeros((), dtype=torch.float64, device=rows[0].log_probs.device)
    for g, (row, own) in enumerate(zip(rows, expected, strict=True)):
        total = total + (row.log_probs * row.log_probs.new_tensor(weights.log_prob[g])).sum()
        total = total + (row.entropies * row.entropies.new_tensor(weights.entropy[g])).sum()
        if own is not None:
            total = total + (own * own.new_tensor(weights.expected_value[g])).sum()
    grads = torch.autograd.grad(total, [policy.trainable[name] for name in along], allow_unused=True)
    return [
        0.0 if grad is None else float((grad.double().cpu() * u.double().cpu()).sum())
        for grad, u in zip(grads, along.values(), strict=True)
    ]


def _scored(policy: Policy, logits: torch.Tensor, response: Sequence[int]) -> Scores:
    log_p = torch.log_softmax(logits[: len(response)].double() / policy.temperature, dim=-1)
    own = log_p[torch.arange(len(response)), list(response)]
    return Scores(own, -(log_p.exp() * log_p).sum(-1), log_p.exp())


def _whole(policy: Policy, prompt: list[int], response: list[int]) -> Scores:
    ids = torch.tensor([prompt + response], device=policy.device)
    return _scored(policy, policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :], response)


def _decoded(policy: Policy, prompt: list[int], responses: list[list[int]]) -> list[Scores]:
    """The group token by token, as a sampler computes it; what follows a response's end changes none of its tokens."""
    tokens, cache, logits = _filled(policy, prompt, responses), None, []
    inputs = torch.tensor([prompt] * len(responses), device=policy.device)
    for k in range(tokens.shape[1]):
        found, cache = _cached(policy, inputs, cache)
        logits.append(found[:, -1])
        inputs = tokens[:, k : k + 1]
    table = torch.stack(logits, 1)
    return [_scored(policy, row, response) for row, response in zip(table, responses, strict=True)]


def _after_prompt(policy: Policy, prompt: list[int], responses: list[list[int]]) -> list[Scores]:
    """The prompt once, then the rest of all responses of the group in one pass."""
    tokens = _filled(policy, prompt, responses)
    first, cache = _cached(policy, torch.tensor([prompt], device=policy.device), None)
    logits = first[:, -1:].expand(len(responses), -1, -1)
    if tokens.shape[1] > 1:
        cache.reorder_cache(torch.zeros(len(responses), dtype=torch.int64, device=policy.device))
        logits = torch.cat([logits, _cached(policy, tokens[:, :-1], cache)[0]], dim=1)
    return [_scored(policy, row, response) for row, response in zip(logits, responses, strict=True)]


def _filled(policy: Policy, prompt: list[int], responses: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, responses))
    return torch.tensor([row + prompt[:1] * (longest - len(row)) for row in responses], device=policy.device)


def _cached(policy: Policy, ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
    """The model's logits after the positions in its own cache (None: there are none), and the cache with these."""
    out = policy.model(input_ids=ids, use_cache=True, **{policy.cache_argument: cache})
    return out.logits, getattr(out, policy.cache_argument)
