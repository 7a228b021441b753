"""A run's log-probs, entropies and s_n by their definitions: one unpadded response at a time, weights by plain loops.

Nothing here is shared with the fast path: neither the policy's batching, positions, masks and cache, nor the
distribution's kernels, nor the estimators' tensor weights.  So a mistake in any of those shows as a discrepancy.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt, Table, Taught
from pytest_entropy.probe.oracles.one_response import gradient_of_response, numbers_of_response
from pytest_entropy.probe.oracles.taught import contexts_at, taught_by, value_of, values_at
from pytest_entropy.stats.largest import largest

# Two tokens are as likely as each other, up to rounding, where their probabilities differ by less, relative: so many
# roundings of the weights' type, which bounds the noise of log-probabilities as the checks do.
SMALLEST_TIE, TIE = 5e-4, 32
# The second estimator of a run, whose recorded scalars are compared with those that were compared here.
LOO = "reinforce_loo"


@dataclass(frozen=True)
class OracleResult:
    """One prompt's numbers by definition.

    Attributes:
        log_probs: log pi(t_k) in nats, response by response.
        entropies: H_k in nats, response by response.
        s: s_n = <X_n, u>; None without a direction.
        size: sum over parameter tensors i of |<X_n, u>_i|, which gaps of s_n are divided by; None without a direction.
        surprises: of :func:`first_surprises_by_definition`.
    """

    log_probs: Table
    entropies: Table
    s: float | None
    size: float | None
    surprises: tuple[float, float]


def by_definition(
    policy: Policy, rollouts: Rollouts, prompt_index: int, direction: Mapping[str, torch.Tensor] | None, estimator: str
) -> OracleResult:
    """Log-probs, entropies and s_n = <X_n, u> of one prompt by definition (docs/mathematics.md §3).

    One response at a time: first the numbers that the weights are made of, then a backward of its own for each.

    Args:
        policy: its bare model scores one unpadded response at a time.
        rollouts: the batch that holds the prompt.
        prompt_index: which of its prompts.
        direction: u by live parameter name; None for no s_n.
        estimator: name of the estimator that defines X_n; not used without a direction.
    """
    direction = None if direction is None else along_slope(policy.model, direction)
    prompt, responses = list(rollouts.prompt_ids[prompt_index]), rollouts.responses(prompt_index)
    known = None if direction is None else taught_by(rollouts, estimator)
    values = values_at(known, rollouts, prompt_index)
    value = None if known is None else value_of(rollouts)
    alone = [numbers_of_response(policy, prompt, *one, value) for one in zip(responses, values, strict=True)]
    log_probs, entropies = [one.log_probs for one in alone], [one.entropies for one in alone]
    tops = [one.likeliest for one in alone]
    chances = [[math.exp(value) for value in row] for row in log_probs]
    surprises = first_surprises_by_definition(tops, chances, tie=max(SMALLEST_TIE, TIE * policy.rounding))
    if direction is None:
        return OracleResult(log_probs, entropies, None, None, surprises)
    expected = [one.expected for one in alone]
    of_prefixes = [one.prefix_values for one in alone]
    weights = defined_weights(estimator, rollouts, prompt_index, log_probs, entropies, expected, of_prefixes, known)
    parts = [0.0] * len(direction)
    for g, response in enumerate(responses):
        grads = gradient_of_response(policy, prompt, response, weights, g, list(direction))
        for i, (grad, u) in enumerate(zip(grads, direction.values(), strict=True)):
            if grad is not None:
                parts[i] += float((grad.double().cpu() * u.double().cpu()).sum())
    return OracleResult(log_probs, entropies, sum(parts), sum(map(abs, parts)), surprises)


def first_surprises_by_definition(
    likeliest: Sequence[Sequence[Sequence[float]]], own: Table, *, tie: float
) -> tuple[float, float]:
    """The expected number of responses that leave the likeliest path, by a loop over tokens; the least and the most.

    It is the sum of 1 - max_u pi(u) over a response's tokens up to and including the first that is not the likeliest.
    Where several tokens are the likeliest up to rounding, one of them may count as either: at the least it is taken
    for a surprise, at the most it is not.

    Args:
        likeliest: the two largest probabilities at each token, the larger first, response by response.
        own: pi(t_k), response by response.
        tie: relative difference of two probabilities that rounding explains.
    """
    least = most = 0.0
    for tops, row in zip(likeliest, own, strict=True):
        certain = True
        for (top, second), p in zip(tops, row, strict=True):
            most += 1 - top
            if certain:
                least += 1 - top
            if p < top * (1 - tie):
                break
            certain = certain and second < top * (1 - tie)
    return least, most


def defined_weights(
    estimator: str,
    rollouts: Rollouts,
    prompt_index: int,
    log_probs: Table,
    entropies: Table,
    expected: Table,
    of_prefixes: Table,
    taught: Taught | None,
) -> LoopWeights:
    """The estimator's weights for one prompt, by its definition.

    Args:
        estimator: the name of the estimator.
        rollouts: the batch that holds the prompt.
        prompt_index: which of its prompts.
        log_probs, entropies: of the prompt's responses, nats per token.
        expected: sum_u q(c_k, u) pi(u) at the tokens of :func:`values_at`, nats; not used without tables.
        of_prefixes: the values of the tokens' prefixes, nats; not used without tables.
        taught: of :func:`taught_by`.
    """
    one = OnePrompt(log_probs, entropies, rollouts.responses(prompt_index))
    if taught is not None:
        one = replace(
            one, taught=taught, contexts=contexts_at(rollouts, prompt_index), expected=expected,
            prefix_values=of_prefixes,
        )  # fmt: skip
    return get_estimator(estimator).definition(one)


def definition_discrepancies(
    policy: Policy,
    rollouts: Rollouts,
    derivatives: Derivatives,
    direction: Mapping[str, torch.Tensor],
    estimators: Sequence[str],
) -> dict[str, float]:
    """Discrepancies of three prompts' numbers in the batch from their definitions (docs/mathematics.md §8).

    The prompts are the shortest, which is padded most (s_n by the first estimator); the longest (no s_n); and the one
    with most entropy, where the weights of responses differ most (s_n by every estimator).

    Args:
        policy: its bare model computes the definitions.
        rollouts: P prompts x G responses.
        derivatives: the batch's scoring pass and s_n, which are compared.
        direction: u by live parameter name.
        estimators: names of the estimators, at least one.

    Returns:
        ``alone_log_probs``, ``alone_entropies``: largest absolute differences of log pi and of H, nats.
        ``definition``: largest difference of s_n relative to :attr:`OracleResult.size`.
        ``alone_surprises``: largest difference of a prompt's expected number of responses with a surprise, per token;
        left out where the batch does not know it.
        ``compared_prompt``, ``compared_loo``: the prompt with most entropy, and its s_n by ``reinforce_loo`` if named.

    Raises:
        RunError: no estimator is named.
    """
    if not estimators:
        raise RunError("no estimator is named whose definition the batch could be compared with")
    lengths = [len(ids) for ids in rollouts.prompt_ids]
    shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
    varied = int(derivatives.entropies.double().sum((1, 2)).argmax())
    wanted = [*((varied, name) for name in estimators), (shortest, estimators[0])]
    oracles = [(n, name, by_definition(policy, rollouts, n, direction, name)) for n, name in wanted]
    oracles += [(n, "", by_definition(policy, rollouts, n, None, "")) for n in (shortest, longest)]
    found: dict[str, list[float]] = {"alone_log_probs": [], "alone_entropies": [], "definition": []}
    for n, name, oracle in oracles:
        found["alone_log_probs"].append(_largest_gap(oracle.log_probs, derivatives.log_probs[n]))
        found["alone_entropies"].append(_largest_gap(oracle.entropies, derivatives.entropies[n]))
        if oracle.s is not None and oracle.size is not None:
            gap_s = abs(float(derivatives.per_prompt[name][n]) - oracle.s)
            found["definition"].append(gap_s / oracle.size if oracle.size else gap_s)
    if np.isfinite(derivatives.first_surprises).all():
        found["alone_surprises"] = [
            _outside(float(derivatives.first_surprises[n]), oracle.surprises) / float(rollouts.lengths[n].sum())
            for n, _, oracle in oracles
        ]
    return {key: largest(gaps) for key, gaps in found.items()} | _compared(derivatives, varied)


def _outside(value: float, bounds: tuple[float, float]) -> float:
    return max(bounds[0] - value, value - bounds[1], 0.0)


def _compared(derivatives: Derivatives, prompt_index: int) -> dict[str, float]:
    second = derivatives.per_prompt.get(LOO)
    return {} if second is None else {"compared_prompt": prompt_index, "compared_loo": float(second[prompt_index])}


def _largest_gap(alone: Table, batch: torch.Tensor) -> float:
    """Largest absolute difference between one prompt's numbers by definition and its rows ``[G, L]`` in the batch."""
    gaps = [
        (row[: len(own)].double() - torch.tensor(own, dtype=torch.float64)).abs().max()
        for own, row in zip(alone, batch, strict=True)
    ]
    return largest(map(float, gaps))


def token_unit_discrepancy(
    values: np.ndarray, entropy_term: np.ndarray, length_score: np.ndarray, rollouts: Rollouts
) -> float:
    """Largest gap of the entropy per token's pseudo-values from their definition, relative to their mean size.

    The definition is B d - (B - 1) d_{-n} with d = (mean a - mean l * mean h / mean L) / mean L over all B prompts, and
    d_{-n} the same over all but prompt n (docs/mathematics.md §3).

    Args:
        values: the pseudo-values ``[B]`` that are compared, nats per token per unit of eta.
        entropy_term: a_n ``[B]``, nats per response per unit of eta.
        length_score: l_n ``[B]``, tokens per response per unit of eta.
        rollouts: B prompts x G responses; h_n and L_n are means over a prompt's responses.
    """
    nats, lengths = _means_of_prompts(rollouts)
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
    gap = largest(abs(value - other) for value, other in zip(values.tolist(), expected, strict=True))
    return gap / size if size else gap


def token_entropy_by_definition(rollouts: Rollouts) -> tuple[float, float]:
    """The entropy in nats per token, the jackknife of mean h / mean L over prompts, and its standard error, by loops.

    Args:
        rollouts: B prompts x G responses, B >= 2; h_n and L_n are means over a prompt's responses.
    """
    nats, lengths = _means_of_prompts(rollouts)
    B, all_nats, all_tokens = len(nats), math.fsum(nats), math.fsum(lengths)
    without = [(all_nats - h) / (all_tokens - length) for h, length in zip(nats, lengths, strict=True)]
    pseudo = [B * all_nats / all_tokens - (B - 1) * ratio for ratio in without]
    return statistics.fmean(pseudo), statistics.stdev(pseudo) / B**0.5


def _means_of_prompts(rollouts: Rollouts) -> tuple[list[float], list[float]]:
    """Each prompt's mean entropy (nats) and mean length (tokens) per response, ``[P]`` each."""
    counted = [
        [row[:k] for row, k in zip(rows.tolist(), own.tolist(), strict=True)]
        for rows, own in zip(rollouts.entropies, rollouts.lengths, strict=True)
    ]
    nats = [statistics.fmean(math.fsum(row) for row in rows) for rows in counted]
    return nats, [statistics.fmean(map(len, rows)) for rows in counted]
