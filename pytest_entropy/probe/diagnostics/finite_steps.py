"""Diagnostics that take finite steps along u: the entropy's slope without a derivative, and the eta sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.by_rows import splits
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.diagnostics.eta_sweep import StepTotals, eta_sweep
from pytest_entropy.probe.diagnostics.importance_sampling import Totals, entropy_slope, sequence_totals
from pytest_entropy.probe.oracles.sweep import sweep_discrepancies
from pytest_entropy.settings.probe import ProbeConfig

FINITE_STEPS = frozenset({"entropy_slope", "eta_sweep"})


def finite_steps(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    derivatives: Derivatives,
    config: ProbeConfig,
    *,
    eta: float,
    sample: Callable[[], Rollouts],
    threads: int,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Compute the diagnostics of :data:`FINITE_STEPS` that ``config.diagnostics`` names (docs/mathematics.md §7).

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses drawn at theta.
        direction: u by live parameter name.
        derivatives: of the pass at theta; holds the responses' totals and the scalar ``score``; ``entropy_slope`` is
            added to its per-prompt scalars, unless :func:`entropy_slope` finds no usable step.
        config: names the diagnostics, and configures the sweep.
        eta: the training step.
        sample: draws the run's responses with its random numbers at the policy's present parameters.
        threads: number of pieces computed at once.

    Returns:
        The arrays of the eta sweep by name, and their discrepancies of
        :func:`~pytest_entropy.probe.oracles.sweep.sweep_discrepancies`; both empty if it was not asked for.
    """
    chunk_tokens = config.tokens_at_once
    before = totals_at_theta(policy, rollouts, derivatives, chunk_tokens=chunk_tokens, threads=threads)
    if "entropy_slope" in config.diagnostics:
        score = derivatives.per_prompt["score"]
        slope = entropy_slope(policy, rollouts, direction, score, chunk_tokens=chunk_tokens, before=before)
        if slope is not None:
            derivatives.per_prompt["entropy_slope"] = slope
    if "eta_sweep" not in config.diagnostics:
        return {}, {}
    pareto, clip = config.pareto_smoothed, config.clip_weights
    at = StepTotals(policy, rollouts, direction, chunk_tokens, threads, {0.0: before})
    sweep = eta_sweep(
        at, eta=eta, multiples=config.eta_multiples, pareto=pareto, clip=clip,
        sample=sample if config.fresh_samples else None,
    )  # fmt: skip
    gaps = sweep_discrepancies(
        policy, rollouts, direction, sweep, at.known, pareto=pareto, clip=clip, chunk_tokens=chunk_tokens,
        threads=threads,
    )  # fmt: skip
    return sweep.arrays(), gaps


def totals_at_theta(
    policy: Policy, rollouts: Rollouts, derivatives: Derivatives, *, chunk_tokens: int, threads: int
) -> Totals:
    """The responses' totals at theta, with the bits that a pass without derivatives gives on the CPU.

    They are those of the derivatives' own scoring pass, which was made of the same pieces.  They have a pass of their
    own where the output layer is trained, since for a matrix that requires a gradient torch may sum in another order,
    and where groups were split: without a step there shall be no change.

    Args:
        policy: the policy at theta.
        rollouts: P prompts x G responses.
        derivatives: their derivatives at theta.
        chunk_tokens, threads: token budget of a piece, and number of pieces computed at once.
    """
    head = policy.model.get_output_embeddings()
    trained = head is None or any(p.requires_grad for p in head.parameters())
    if trained or splits(rollouts, chunk_tokens):
        return sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens, threads=threads)
    return Totals(derivatives.sequence, derivatives.nats)
