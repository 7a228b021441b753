"""Diagnostics that take finite steps along u: the entropy's slope without a derivative, and the eta sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.diagnostics.eta_sweep import eta_sweep
from pytest_entropy.probe.diagnostics.importance_sampling import entropy_slope
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
        derivatives: holds the scalar ``score``; ``entropy_slope`` is added to its per-prompt scalars, unless
            :func:`entropy_slope` finds no usable step.
        config: names the diagnostics, and configures the sweep.
        eta: the training step.
        sample: draws the run's responses with its random numbers at the policy's present parameters.
        threads: number of pieces computed at once.

    Returns:
        The arrays of the eta sweep by name, and their discrepancies of
        :func:`~pytest_entropy.probe.oracles.sweep.sweep_discrepancies`; both empty if it was not asked for.
    """
    chunk_tokens = config.tokens_at_once
    if "entropy_slope" in config.diagnostics:
        score = derivatives.per_prompt["score"]
        slope = entropy_slope(policy, rollouts, direction, score, chunk_tokens=chunk_tokens)
        if slope is not None:
            derivatives.per_prompt["entropy_slope"] = slope
    if "eta_sweep" not in config.diagnostics:
        return {}, {}
    pareto, clip = config.pareto_smoothed, config.clip_weights
    sweep = eta_sweep(
        policy, rollouts, direction, eta=eta, multiples=config.eta_multiples, chunk_tokens=chunk_tokens,
        threads=threads, pareto=pareto, clip=clip, sample=sample if config.fresh_samples else None,
    )  # fmt: skip
    gaps = sweep_discrepancies(
        policy, rollouts, direction, sweep, pareto=pareto, clip=clip, chunk_tokens=chunk_tokens, threads=threads
    )
    return sweep.arrays(), gaps
