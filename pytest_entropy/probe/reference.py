"""A run's numbers by their definitions, slowly: one unpadded response at a time, weights by plain loops.

Nothing here is shared with the fast path: not the policy's batching, positions, masks and cache, not the
distribution's kernels, not the estimators' tensor weights.  So a mistake in any of those shows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy import Policy
from pytest_entropy.probe.directional import Derivatives
from pytest_entropy.probe.dora import along_slope
from pytest_entropy.probe.estimators import LEARNING
from pytest_entropy.probe.learnt_reference import (
    Table,
    action_value_weights,
    entropy_to_go,
    mean_of_others,
)
from pytest_entropy.probe.truth import moved, sequence_totals
from pytest_entropy.rollouts import Rollouts

# The finite step along u: the log-probability that moves most moves by about this many nats.
MOVE = 0.02


@dataclass(frozen=True)
class Reference:
    """One prompt by definition: per response the token log-probs and entropies (nats), s_n, and its size.

    ``size`` is sum_i |dX_i u_i| over parameter tensors: what a relative gap of s_n is relative to.
    """

    log_probs: Table
    entropies: Table
    s: float | None
    size: float | None


def by_definition(
    policy: Policy, rollouts: Rollouts, slot: int, direction: Mapping[str, torch.Tensor] | None, estimator: str
) -> Reference:
    """Log-probs, entropies and s_n = <X_n, u> of one prompt; without ``direction`` no s_n."""
    direction = None if direction is None else along_slope(policy.model, direction)
    parameters = [policy.trainable[name] for name in direction or ()]
    rows = []
    with torch.set_grad_enabled(direction is not None):
        for response in rollouts.responses(slot):
            rows.append(_one_response(policy, list(rollouts.prompt_ids[slot]), response))
        log_probs = [own.tolist() for own, _, _ in rows]
        entropies = [nats.tolist() for _, nats, _ in rows]
        if direction is None:
            return Reference(log_probs, entropies, None, None)
        q: list[float] = []
        if estimator in LEARNING and rollouts.action_values is not None:
            by_log_prob = action_value_weights(rollouts.action_values, rollouts.responses(slot), entropies)
            by_entropy, q = _equal(entropies), rollouts.action_values.token.tolist()
        else:
            by_log_prob, by_entropy = DEFINITIONS[estimator](log_probs, entropies)
        surrogate = torch.zeros((), dtype=torch.float64, device=policy.device)
        for g, (own, nats, p) in enumerate(rows):
            surrogate = surrogate + (own * own.new_tensor(by_log_prob[g])).sum()
            surrogate = surrogate + (nats * nats.new_tensor(by_entropy[g])).sum()
            if q:
                surrogate = surrogate + (p[:, : len(q)] @ p.new_tensor(q)).sum() / len(rows)
        grads = torch.autograd.grad(surrogate, parameters, allow_unused=True)
    parts = [
        float((grad.double().cpu() * u.double().cpu()).sum())
        for grad, u in zip(grads, direction.values(), strict=True)
        if grad is not None
    ]
    return Reference(log_probs, entropies, sum(parts), sum(map(abs, parts)))


def _one_response(policy: Policy, prompt: list[int], response: list[int]) -> tuple[torch.Tensor, ...]:
    """(log pi(t_k), H_k, pi) of one response, ``[L]`` float64 nats twice and ``[L, V]``, from the bare model."""
    ids = torch.tensor([prompt + response], device=policy.device)
    logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
    p = torch.softmax(logits / policy.temperature, dim=-1)
    log_p = (logits / policy.temperature) - torch.logsumexp(logits / policy.temperature, dim=-1, keepdim=True)
    own = log_p[torch.arange(len(response)), response]
    return own, -(p * log_p).sum(-1), p


def _rao_blackwell(log_probs: Table, entropies: Table) -> tuple[Table, Table]:
    """(weights of log pi, weights of H) of (1/G) sum_g sum_k [H_k + (Gamma_k - b_k) log pi(t_k)]."""
    to_go = entropy_to_go(entropies)
    weights = [
        [(gamma - mean_of_others(to_go, g, k)) / len(to_go) for k, gamma in enumerate(row)]
        for g, row in enumerate(to_go)
    ]
    return weights, _equal(entropies)


def _reinforce_loo(log_probs: Table, entropies: Table) -> tuple[Table, Table]:
    """(weights of log pi, zero weights of H) of -(1/G) sum_g (S_g - mean_{h != g} S_h) S_g."""
    group = len(log_probs)
    sequence = [sum(row) for row in log_probs]
    weights = []
    for g, row in enumerate(log_probs):
        others = [sequence[h] for h in range(group) if h != g]
        weights.append([-(sequence[g] - sum(others) / len(others)) / group] * len(row))
    return weights, [[0.0] * len(row) for row in log_probs]


def _score(log_probs: Table, entropies: Table) -> tuple[Table, Table]:
    """(weights of log pi, zero weights of H) of (1/G) sum_g S_g."""
    return _equal(log_probs), [[0.0] * len(row) for row in log_probs]


def _length_score(log_probs: Table, entropies: Table) -> tuple[Table, Table]:
    """(weights of log pi, zero weights of H) of (1/G) sum_g (L_g - mean_{h != g} L_h) S_g."""
    group = len(log_probs)
    weights = []
    for g, row in enumerate(log_probs):
        others = [len(log_probs[h]) for h in range(group) if h != g]
        weights.append([(len(row) - sum(others) / len(others)) / group] * len(row))
    return weights, [[0.0] * len(row) for row in log_probs]


def _equal(table: Table) -> Table:
    """1/G for every token."""
    return [[1 / len(table)] * len(row) for row in table]


# Of one prompt alone: what another batch teaches is in :mod:`.learnt_reference`.
DEFINITIONS: dict[str, Callable[[Table, Table], tuple[Table, Table]]] = {
    "action_value": _rao_blackwell,
    "rao_blackwell": _rao_blackwell,
    "reinforce_loo": _reinforce_loo,
    "score": _score,
    "length_score": _length_score,
}


def definition_gaps(
    policy: Policy,
    rollouts: Rollouts,
    derivatives: Derivatives,
    direction: Mapping[str, torch.Tensor],
    estimators: Sequence[str],
) -> dict[str, float]:
    """The batch against three of its prompts by definition: the shortest, the longest, the one with most entropy.

    Largest absolute differences of log pi and of H in nats (``alone_log_probs``, ``alone_entropies``), and the
    largest difference of s_n relative to :attr:`Reference.size` (``definition``): by the first estimator for the
    shortest prompt, which is padded most, by all of them for the one with most entropy, where the weights of
    responses differ most.
    """
    lengths = [len(ids) for ids in rollouts.prompt_ids]
    shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
    known = [name for name in estimators if name in DEFINITIONS]
    varied = int(derivatives.entropies.double().sum((1, 2)).argmax())
    wanted = [(varied, name) for name in known] + ([(shortest, known[0])] if known else [])
    references = [(slot, name, by_definition(policy, rollouts, slot, direction, name)) for slot, name in wanted]
    references += [(slot, "", by_definition(policy, rollouts, slot, None, "")) for slot in (shortest, longest)]
    worst = {"alone_log_probs": 0.0, "alone_entropies": 0.0, "definition": 0.0}
    for slot, name, reference in references:
        for g, (own, nats) in enumerate(zip(reference.log_probs, reference.entropies, strict=True)):
            for key, alone, batch in (
                ("alone_log_probs", own, derivatives.log_probs),
                ("alone_entropies", nats, derivatives.entropies),
            ):
                gap = (batch[slot, g, : len(alone)].double() - torch.tensor(alone, dtype=torch.float64)).abs().max()
                worst[key] = max(worst[key], float(gap))
        if reference.s is not None and reference.size is not None:
            gap_s = abs(float(derivatives.per_prompt[name][slot]) - reference.s)
            worst["definition"] = max(worst["definition"], gap_s / reference.size if reference.size else gap_s)
    return worst


def token_unit_gap(values: np.ndarray, entropy_term: np.ndarray, length_score: np.ndarray, rollouts: Rollouts) -> float:
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
    gap = max(abs(value - other) for value, other in zip(values.tolist(), expected, strict=True))
    return gap / size if size else gap


# ---------------------------------------------------------------------- the update


def token_weights_by_definition(
    rewards: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    objective: str,
    *,
    max_new_tokens: int,
    scaling: str | None = None,
    epsilon: float = 1e-4,
) -> Table:
    """w_pg of the loss -sum w_pg S_pg, by loops (the published formulae: see :mod:`.objective`).

    Raises:
        KeyError: an objective or scaling without a definition here.
    """
    own_scaling, divide = OBJECTIVES_BY_DEFINITION[objective]
    flat = [r for group in rewards for r in group]
    sequences, tokens = len(flat), sum(sum(own) for own in lengths)
    table = []
    for group, own in zip(rewards, lengths, strict=True):
        row = []
        for r, length in zip(group, own, strict=True):
            a = r - statistics.fmean(group)
            match scaling or own_scaling:
                case "group":
                    a /= statistics.stdev(group) + epsilon
                case "batch":
                    a /= statistics.stdev(flat) + epsilon
                case "leave_one_out":
                    a = r - (sum(group) - r) / (len(group) - 1)
                case "none":
                    pass
                case other:
                    raise KeyError(other)
            by = {"S": sequences, "L": length, "T": tokens, "M": max_new_tokens, "W": max(own)}
            row.append(a / math.prod(by[factor] for factor in divide))
        table.append(row)
    return table


# Divisors of a token's weight: S sequences, L own length, T all tokens, M max_new_tokens, W longest of the group.
OBJECTIVES_BY_DEFINITION = {
    "dr_grpo": ("none", "SM"),
    "grpo": ("group", "SL"),
    "gspo": ("group", "SL"),
    "dapo": ("group", "T"),
    "cispo": ("group", "T"),
    "bnpo": ("group", "T"),
    "rloo": ("leave_one_out", "S"),
    "sapo": ("group", "SL"),
    "luspo": ("group", "S"),
    "vespo": ("group", "T"),
    "seq-mean-token-mean": ("group", "SL"),
    "seq-mean-token-sum": ("group", "S"),
    "seq-mean-token-sum-norm": ("group", "SM"),
    "token-mean": ("group", "T"),
    "predecessor": ("none", "SW"),
}


def loss_slope_gap(
    policy: Policy,
    rollouts: Rollouts,
    weights: Table,
    gradient: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    *,
    step: float,
    chunk_tokens: int,
) -> float:
    """Relative gap between the slope <g, C u> and (L(theta + h u) - L(theta - h u)) / 2h, L = -sum w_pg S_pg on U.

    C is the identity but with DoRA (:mod:`.dora`).

    No derivative is taken on the second side, so that sign, scale, token weights and the summing of pieces are
    all seen.  Steps h and 2h are extrapolated to 0 (Richardson), for some responses curve a hundred times more
    than others.  Relative to sum |w_pg (dS_pg)| / 2h; h starts at ``step`` and is set so that the S_pg that moves
    most moves by about ``MOVE`` nats.
    """
    table = np.array(weights)

    def change(h: float) -> np.ndarray:
        ahead, behind = (
            _sequence_at(policy, rollouts, direction, sign * h, chunk_tokens=chunk_tokens) for sign in (1, -1)
        )
        return (ahead - behind) / 2

    near = change(step)
    for _ in range(4):
        most = float(np.abs(near).max())
        if most == 0.0 or MOVE / 2 < most < 2 * MOVE:
            break
        step *= MOVE / most
        near = change(step)
    along = along_slope(policy.model, direction)
    inner = sum(float((gradient[name].double() * u.double()).sum()) for name, u in along.items())
    slopes = [-float((table * moved_by).sum()) / h for h, moved_by in ((step, near), (2 * step, change(2 * step)))]
    size = float(np.abs(table * near).sum()) / step
    slope = (4 * slopes[0] - slopes[1]) / 3
    return abs(slope - inner) / size if size else abs(inner)


def _sequence_at(
    policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor], step: float, *, chunk_tokens: int
) -> np.ndarray:
    with moved(policy, direction, step):
        return sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens)[0]
