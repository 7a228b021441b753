"""A run's numbers by their definitions, slowly: one unpadded response at a time, weights by plain loops.

Nothing here is shared with the fast path: not the policy's batching, positions, masks and cache, not the
distribution's kernels, not the estimators' tensor weights.  So a mistake in any of those shows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt, Table, Taught


@dataclass(frozen=True)
class OracleResult:
    """One prompt by definition: per response the token log-probs and entropies (nats), s_n, and its size.

    ``size`` is sum_i |dX_i u_i| over parameter tensors: what a relative gap of s_n is relative to.
    """

    log_probs: Table
    entropies: Table
    s: float | None
    size: float | None


def by_definition(
    policy: Policy, rollouts: Rollouts, prompt_index: int, direction: Mapping[str, torch.Tensor] | None, estimator: str
) -> OracleResult:
    """Log-probs, entropies and s_n = <X_n, u> of one prompt; without ``direction`` no s_n."""
    direction = None if direction is None else along_slope(policy.model, direction)
    parameters = [policy.trainable[name] for name in direction or ()]
    rows = []
    with torch.set_grad_enabled(direction is not None):
        for response in rollouts.responses(prompt_index):
            rows.append(_one_response(policy, list(rollouts.prompt_ids[prompt_index]), response))
        log_probs = [own.tolist() for own, _, _ in rows]
        entropies = [nats.tolist() for _, nats, _ in rows]
        if direction is None:
            return OracleResult(log_probs, entropies, None, None)
        weights = _defined_weights(estimator, rollouts, prompt_index, log_probs, entropies)
        surrogate = torch.zeros((), dtype=torch.float64, device=policy.device)
        for g, (own, nats, p) in enumerate(rows):
            surrogate = surrogate + (own * own.new_tensor(weights.log_prob[g])).sum()
            surrogate = surrogate + (nats * nats.new_tensor(weights.entropy[g])).sum()
            if weights.q:
                surrogate = surrogate + (p[:, : len(weights.q)] @ p.new_tensor(weights.q)).sum() / len(rows)
        grads = torch.autograd.grad(surrogate, parameters, allow_unused=True)
    parts = [
        float((grad.double().cpu() * u.double().cpu()).sum())
        for grad, u in zip(grads, direction.values(), strict=True)
        if grad is not None
    ]
    return OracleResult(log_probs, entropies, sum(parts), sum(map(abs, parts)))


def _defined_weights(
    estimator: str, rollouts: Rollouts, prompt_index: int, log_probs: Table, entropies: Table
) -> LoopWeights:
    """The estimator's weights for one prompt, by its definition."""
    part, values = get_estimator(estimator), rollouts.control_variate
    taught = None
    if part.learns and values is not None:
        taught = Taught(values.position.tolist(), values.token.tolist(), float(values.share))
    return part.definition(OnePrompt(log_probs, entropies, rollouts.responses(prompt_index), taught))


def _one_response(policy: Policy, prompt: list[int], response: list[int]) -> tuple[torch.Tensor, ...]:
    """(log pi(t_k), H_k, pi) of one response, ``[L]`` float64 nats twice and ``[L, V]``, from the bare model."""
    ids = torch.tensor([prompt + response], device=policy.device)
    logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
    p = torch.softmax(logits / policy.temperature, dim=-1)
    log_p = (logits / policy.temperature) - torch.logsumexp(logits / policy.temperature, dim=-1, keepdim=True)
    own = log_p[torch.arange(len(response)), response]
    return own, -(p * log_p).sum(-1), p


def definition_discrepancies(
    policy: Policy,
    rollouts: Rollouts,
    derivatives: Derivatives,
    direction: Mapping[str, torch.Tensor],
    estimators: Sequence[str],
) -> dict[str, float]:
    """The batch against three of its prompts by definition: the shortest, the longest, the one with most entropy.

    Largest absolute differences of log pi and of H in nats (``alone_log_probs``, ``alone_entropies``), and the
    largest difference of s_n relative to :attr:`OracleResult.size` (``definition``): by the first estimator for the
    shortest prompt, which is padded most, by all of them for the one with most entropy, where the weights of
    responses differ most.

    Raises:
        RunError: no estimator: nothing would stand against the run's numbers.
    """
    if not estimators:
        raise RunError("no estimator is named whose definition the batch could be held against")
    lengths = [len(ids) for ids in rollouts.prompt_ids]
    shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
    varied = int(derivatives.entropies.double().sum((1, 2)).argmax())
    wanted = [*((varied, name) for name in estimators), (shortest, estimators[0])]
    oracles = [
        (prompt_index, name, by_definition(policy, rollouts, prompt_index, direction, name))
        for prompt_index, name in wanted
    ]
    oracles += [
        (prompt_index, "", by_definition(policy, rollouts, prompt_index, None, ""))
        for prompt_index in (shortest, longest)
    ]
    worst = {"alone_log_probs": 0.0, "alone_entropies": 0.0, "definition": 0.0}
    for prompt_index, name, oracle in oracles:
        for g, (own, nats) in enumerate(zip(oracle.log_probs, oracle.entropies, strict=True)):
            for key, alone, batch in (
                ("alone_log_probs", own, derivatives.log_probs),
                ("alone_entropies", nats, derivatives.entropies),
            ):
                gap = (
                    (batch[prompt_index, g, : len(alone)].double() - torch.tensor(alone, dtype=torch.float64))
                    .abs()
                    .max()
                )
                worst[key] = max(worst[key], float(gap))
        if oracle.s is not None and oracle.size is not None:
            gap_s = abs(float(derivatives.per_prompt[name][prompt_index]) - oracle.s)
            worst["definition"] = max(worst["definition"], gap_s / oracle.size if oracle.size else gap_s)
    return worst


def token_unit_discrepancy(
    values: np.ndarray, entropy_term: np.ndarray, length_score: np.ndarray, rollouts: Rollouts
) -> float:
    """Largest gap of the entropy per token's pseudo-values ``[P]`` from their definition, relative to their mean size.

    B d - (B - 1) d_{-n} with d = (mean a - mean l * mean h / mean L) / mean L over all prompts, or all but n.
    """
    counted = [
        [row[:k] for row, k in zip(rows.tolist(), own.tolist(), strict=True)]
        for rows, own in zip(rollouts.entropies, rollouts.lengths, strict=True)
    ]
    nats = [statistics.fmean(math.fsum(row) for row in rows) for rows in counted]
    lengths = [statistics.fmean(map(len, rows)) for rows in counted]
    columns = (entropy_term.tolist(), length_score.tolist(), nats, lengths)
    totals, B = [math.fsum(column) for column in columns], len(nats)

    def derivative(sums: Sequence[float], count: int) -> float:
        a, score, h, length = (total / count for total in sums)
        return (a - score * h / length) / length

    full = derivative(totals, B)
    expected = [
        B * full - (B - 1) * derivative([total - x for total, x in zip(totals, own, strict=True)], B - 1)
        for own in zip(*columns, strict=True)
    ]
    size = statistics.fmean(map(abs, expected))
    gap: float = max(abs(value - other) for value, other in zip(values.tolist(), expected, strict=True))
    return gap / size if size else gap
