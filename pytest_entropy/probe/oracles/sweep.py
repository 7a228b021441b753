"""One step of the eta sweep a second time: changes and sample sizes by plain loops over the responses' totals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep
from pytest_entropy.probe.diagnostics.importance_sampling import Totals, sequence_totals, totals_at
from pytest_entropy.probe.oracles.loops import Table
from pytest_entropy.stats.largest import largest

# Below so many weights k-hat is not fitted.
FEWEST_WEIGHTS = 25
# Prompts that are scored again.
FEWEST_PROMPTS, MOST_PROMPTS = 2, 16


def sweep_discrepancies(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    sweep: EtaSweep,
    recorded: Mapping[float, Totals],
    *,
    pareto: bool,
    clip: float | None,
    chunk_tokens: int,
    threads: int = 1,
) -> dict[str, float]:
    """Discrepancies of the sweep from plain loops at the ladder's longest step, backwards rather than forwards.

    Loops over the recorded totals give every prompt's changes and all sample sizes again.  The recorded totals
    themselves are compared with new scoring passes, at theta and at the step, for a quarter of the prompts (at least
    ``FEWEST_PROMPTS`` and at most ``MOST_PROMPTS``), spread over the lengths: what a pass of the whole batch gets
    wrong by pieces, rows or steps shows in any of them; one prompt alone, of those not chosen, would not be seen.

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        sweep: the sweep.
        recorded: the totals ``[P, G]`` that the sweep was computed from, by step, 0 for theta.
        pareto, clip: how the weights of its self-normalised change were smoothed or bounded.
        chunk_tokens, threads: token budget of a piece, and number of pieces computed at once.

    Returns:
        By the names of :class:`Diagnostics`: ``sweep_change``, ``sweep_self_normalised``, relative to the mean absolute
        contribution; ``sweep_sizes``, relative; ``sweep_khat``, 0 where neither fits one.  Empty where the
        weights overflow at every step.
    """
    j = _longest(sweep)
    if j is None:
        return {}
    step = float(sweep.steps[j])
    found = _by_loops(sweep, j, recorded[0.0], recorded[step], pareto=pareto, clip=clip)
    chosen = spread_over_lengths(rollouts)
    again = _changes_again(policy, rollouts.select(chosen), direction, step, chunk_tokens, threads)
    return found | {"sweep_change": largest([found["sweep_change"], _off(sweep.change[j][chosen].tolist(), again)])}


def _by_loops(
    sweep: EtaSweep, j: int, before: Totals, after: Totals, *, pareto: bool, clip: float | None
) -> dict[str, float]:
    """The discrepancies of step j from loops over the totals of all prompts."""
    old, new, logs = before.nats.tolist(), after.nats.tolist(), (after.sequence - before.sequence).tolist()
    changes = [_change(*group) for group in zip(old, new, logs, strict=True)]
    smoothed, khat = _smoothed(logs) if pareto else (logs, math.nan)
    if clip is not None:
        smoothed = [[min(weight, math.log(clip)) for weight in row] for row in smoothed]
    normalised = [_self_normalised(*group) for group in zip(old, new, smoothed, strict=True)]
    every = [weight for row in logs for weight in row]
    sizes = (
        (float(sweep.ess[j]), _sample_size(every)),
        (float(sweep.group_ess[j]), math.fsum(map(_sample_size, logs)) / len(logs)),
    )
    return {
        "sweep_change": _off(sweep.change[j].tolist(), changes),
        "sweep_self_normalised": _off(sweep.self_normalised[j].tolist(), normalised),
        "sweep_sizes": largest(abs(reported - size) / size for reported, size in sizes),
        "sweep_khat": _apart(float(sweep.khat[j]), khat),
    }


def spread_over_lengths(rollouts: Rollouts) -> list[int]:
    """The prompts that are scored again: the shortest, the longest, and others evenly between, by response tokens.

    Args:
        rollouts: P prompts x G responses.
    """
    tokens = rollouts.lengths.sum(1).tolist()
    order = sorted(range(len(tokens)), key=lambda n: (tokens[n], n))
    count = min(len(order), MOST_PROMPTS, max(FEWEST_PROMPTS, len(order) // 4))
    return [order[round(i * (len(order) - 1) / max(count - 1, 1))] for i in range(count)]


def _changes_again(
    policy: Policy, some: Rollouts, direction: Mapping[str, torch.Tensor], step: float, chunk_tokens: int, threads: int
) -> list[tuple[float, float]]:
    """:func:`_change` of some prompts from totals that are computed anew, at theta and at the step."""
    before = sequence_totals(policy, some, chunk_tokens=chunk_tokens, threads=threads)
    after = totals_at(policy, some, direction, step, chunk_tokens=chunk_tokens, threads=threads)
    logs = (after.sequence - before.sequence).tolist()
    return [_change(*group) for group in zip(before.nats.tolist(), after.nats.tolist(), logs, strict=True)]


def _longest(sweep: EtaSweep) -> int | None:
    """Which step is the ladder's longest that no weight overflows at; None where there is none.

    The training step may be far longer than the ladder's, with one response's weight above all others together.
    """
    steps, eta = sweep.steps.tolist(), float(sweep.eta)
    finite = [j for j in range(len(steps)) if np.isfinite(sweep.change[j]).all()]
    ladder = [j for j in finite if steps[j] != eta] or finite
    return max(ladder, key=lambda j: (abs(steps[j]), -steps[j]), default=None)


def _change(old: Sequence[float], new: Sequence[float], logs: Sequence[float]) -> tuple[float, float]:
    """Delta_n and the mean absolute contribution to it, nats per response, from one prompt's G responses."""
    G = len(old)
    total = size = 0.0
    for g, weight in enumerate(logs):
        baseline = (sum(old) - old[g]) / (G - 1)
        w = math.exp(weight)
        total += w * new[g] - old[g] - (w - 1) * baseline
        size += w * abs(new[g]) + abs(old[g]) + abs((w - 1) * baseline)
    return total / G, size / G


def _self_normalised(old: Sequence[float], new: Sequence[float], logs: Sequence[float]) -> tuple[float, float]:
    """The change by self-normalised weights and the mean absolute contribution, nats per response, of one prompt."""
    w = [math.exp(weight - max(logs)) for weight in logs]
    weighted, plain = sum(a * h for a, h in zip(w, new, strict=True)) / sum(w), sum(old) / len(old)
    return weighted - plain, weighted + plain


def _sample_size(logs: Sequence[float]) -> float:
    """(sum w)^2 / sum w^2 as a share of the number of weights."""
    w = [math.exp(weight - max(logs)) for weight in logs]
    return math.fsum(w) ** 2 / math.fsum(a * a for a in w) / len(w)


def _smoothed(logs: Table) -> tuple[Table, float]:
    """Weights smoothed by a Pareto fit to the largest of all, on their old scale, and its shape k-hat.

    NaN, and the weights as they are, where there are too few or no tail to fit.
    """
    from arviz_stats.base import array_stats  # type: ignore[attr-defined]

    flat = np.array([weight for row in logs for weight in row])
    tail = np.sort(flat)[-max(5, len(flat) // 5) :]
    if len(flat) < FEWEST_WEIGHTS or float(tail[0]) == float(tail[-1]):
        return logs, math.nan
    smoothed, shape = array_stats.psislw(-flat)
    smoothed = np.asarray(smoothed) - np.min(smoothed) + np.min(flat)
    return smoothed.reshape(len(logs), -1).tolist(), float(shape)


def _off(reported: Sequence[float], expected: Sequence[tuple[float, float]]) -> float:
    scale = math.fsum(size for _, size in expected) / len(expected) or 1.0
    return largest(abs(value - own) for value, (own, _) in zip(reported, expected, strict=True)) / scale


def _apart(left: float, right: float) -> float:
    """|left - right|; 0 where both are NaN, 1 where one is."""
    if math.isnan(left) or math.isnan(right):
        return float(math.isnan(left) != math.isnan(right))
    return abs(left - right)
