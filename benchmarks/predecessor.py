"""The method this project replaces, written cleanly: what its design costs, without its faults.

Every run loads model and optimizer anew, samples, and goes twice over the batch one prompt at a time (G
sequences), each with a backward whose gradient vector is copied to the CPU: once for the mean X, once for the
variance of s_n = <X_n, u>.  The estimator is reinforce_loo.  Sampling is given the batched ``generate`` of the
floor, and the update direction is handed in, as it is to the probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import floor
from benchmarks.methods import dot, per_prompt_gradients
from pytest_entropy.checkpoints import Checkpoint, load_checkpoint
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.profiler import Meter

ESTIMATOR = "reinforce_loo"


@dataclass(frozen=True)
class Measurement:
    """delta_h1 and its conditional variance in nats, the scalars s_n ``[P]``, seconds by phase."""

    delta_h1: float
    variance: float
    per_prompt: np.ndarray
    seconds: dict[str, float]


def run(
    directory: str | Path, rollouts: Rollouts, direction: Mapping[str, torch.Tensor], *, limit: int, dtype: str
) -> Measurement:
    """One run of the old method.

    ``generate`` is timed on the same prompts, but the numbers come from ``rollouts``, so that they can be
    compared with the probe's.
    """
    meter = Meter()
    with meter.phase("load"):
        checkpoint: Checkpoint = load_checkpoint(directory, dtype=dtype)
    policy, eta = checkpoint.policy, checkpoint.learning_rate
    assert eta is not None
    with meter.phase("sampling"):
        floor.generate(policy, rollouts.prompt_ids, rollouts.group_size, limit)
    with meter.phase("mean_pass"):
        delta = eta * dot(mean_gradient(policy, rollouts, direction), direction)
    with meter.phase("variance_pass"):
        s = np.array([dot(g, direction) for g in per_prompt_gradients(policy, rollouts, direction, ESTIMATOR)])
        variance = float(eta**2 * s.var(ddof=1) / len(s))
    return Measurement(delta, variance, s, meter.seconds)


def mean_gradient(policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """X averaged over prompts, accumulated on the CPU in float64."""
    total = {name: torch.zeros(u.shape, dtype=torch.float64) for name, u in direction.items()}
    for gradient in per_prompt_gradients(policy, rollouts, direction, ESTIMATOR):
        for name, g in gradient.items():
            total[name] += g / len(rollouts)
    return total
