"""Compare the update's gradient with the loss's slopes along random directions, also where the gradient is exactly 0.

Where a part of the gradient is lost, u is 0 too, so that a comparison along u never sees it.  A random direction v has
a part there: <g, v> must be the slope of the loss along v, which finite differences give without a derivative.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.text_part import has_experts
from pytest_entropy.probe.oracles.central_differences import CentralDifferences
from pytest_entropy.probe.oracles.loops import Table
from pytest_entropy.probe.oracles.rounding_noise import is_coarse
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.records.seeds import derive

# The part of g that is lost has a product of random size with each; all of them are small together rarely.
DIRECTIONS = 3
# The step is so long that the S_pg that changes most changes by about this many nats; curvature along v stays below.
MOVE = 0.02
# A step divided by it moves the responses by less than their rounding.
SHORT = 64
# Names in a message.
MOST_NAMES = 6


@dataclass(frozen=True)
class RandomSlopes:
    """Discrepancies of a gradient from slopes of the loss, relative to the root sum of squares of responses' parts.

    Attributes:
        gap: the largest over the random directions.
        noise: rounding of the slopes.
        zero_gap: along the entries of v at which the gradient is exactly 0; 0 without such entries.
        zero_blocks: parameters with such entries and their share, in words, most first.
    """

    gap: float
    noise: float
    zero_gap: float
    zero_blocks: list[str] = field(default_factory=list)


def random_slopes(
    policy: Policy,
    rollouts: Rollouts,
    weights: Table,
    gradient: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    *,
    step: float,
    seed: int,
    chunk_tokens: int,
) -> RandomSlopes:
    """Discrepancies between <g, v> and (L(theta + h v) - L(theta - h v)) / 2h, L = -sum w_pg S_pg on U.

    v is normal with one scale per tensor, that of the tensor's entries of u, so that a part that is lost counts about
    as it would in u.  Each discrepancy is divided by sqrt(sum (w_pg dS_pg / h)^2).

    Args:
        policy: the policy before the step.
        rollouts: B_U prompts x G responses.
        weights: token weights w ``[B_U][G]`` by definition.
        gradient: g by live parameter name.
        direction: u by live parameter name; only its scales are used.
        step: the first h; it is rescaled until the S_pg that changes most changes by about ``MOVE`` nats.
        seed: of the random directions.
        chunk_tokens: token budget of a piece.
    """
    table, scales = np.array(weights), _scales(direction)
    differences = CentralDifferences(policy, rollouts, chunk_tokens)
    v = _draw(gradient, scales, derive(seed, "slope", 0))
    step, change = differences.usable(v, step, MOVE)
    # A step too short to change anything leaves the rounding of the same passes.
    left = differences.half(v, step / SHORT) - change / SHORT
    noise = float(np.sqrt(np.square(table * left).sum())) / step
    zero_gap = _slope_of_zeros(differences, table, gradient, v, step)
    gaps, sizes = [], []
    for position in range(DIRECTIONS):
        if position:
            # One at a time: of a full fine-tune each is as large as the model.
            v = _draw(gradient, scales, derive(seed, "slope", position))
            change = differences.half(v, step)
        near, far = table * change / step, table * differences.half(v, 2 * step) / (2 * step)
        # Extrapolated to a step of 0 (Richardson): curvature adds up over responses, and rounding does not.
        slope = -float((4 * near - far).sum()) / 3
        if is_coarse(policy) or has_experts(policy.model):
            # Rounding may swallow a step that is too short, which then leaves none; a token's experts may change.
            noise = max(noise, float(np.sqrt(np.square(near - far).sum())))
        gaps.append(abs(slope - inner(gradient, along_slope(policy.model, v))))
        sizes.append(float(np.sqrt(np.square(near).sum())))
    size = max(sizes) or 1.0
    return RandomSlopes(max(gaps) / size, noise / size, zero_gap / size, _named(gradient))


def _slope_of_zeros(
    differences: CentralDifferences,
    table: np.ndarray,
    gradient: Mapping[str, torch.Tensor],
    v: Mapping[str, torch.Tensor],
    step: float,
) -> float:
    """The loss's slope along the entries of v at which the gradient is exactly 0; 0 where it is 0 nowhere."""
    zeros = {name: x * (gradient[name] == 0).cpu() for name, x in v.items()}
    if not any(bool(x.any()) for x in zeros.values()):
        return 0.0
    return abs(float((table * differences.half(zeros, step)).sum())) / step


def _scales(direction: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """The median size of each tensor's entries of u other than 0; of a tensor of zeros, that of the other tensors."""
    own = {name: _median(u.detach().abs().ravel()) for name, u in direction.items()}
    known = [scale for scale in own.values() if scale > 0]
    usual = statistics.median(known) if known else 1.0
    return {name: scale or usual for name, scale in own.items()}


def _median(sizes: torch.Tensor) -> float:
    some = sizes[:: max(1, len(sizes) // 100_000)]
    some = some[some > 0]
    return float(some.median()) if len(some) else 0.0


def _draw(gradient: Mapping[str, torch.Tensor], scales: Mapping[str, float], seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed % 2**63)
    return {name: scales[name] * torch.randn(g.shape, generator=random) for name, g in gradient.items()}


def _named(gradient: Mapping[str, torch.Tensor]) -> list[str]:
    """Parameters whose gradient has entries that are exactly 0, with the entries' share, most first."""
    shares = {name: float((g == 0).double().mean()) for name, g in gradient.items()}
    zero = sorted((name for name, share in shares.items() if share > 0), key=lambda name: -shares[name])
    return [f"{name} ({shares[name]:.0%} of its entries)" for name in zero[:MOST_NAMES]]
