"""The update by its definition: token weights by loops, and the loss's slope by finite differences.

The only code shared with :mod:`~.update.objective` and :mod:`~.derivatives.gradient` is the policy's scoring pass.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.oracles.central_differences import CentralDifferences
from pytest_entropy.probe.oracles.loops import Table
from pytest_entropy.probe.oracles.rounding_noise import is_coarse
from pytest_entropy.stats.largest import largest

# The finite step along u is so long that the S_pg that changes most changes by about this many nats.
MOVE = 0.02
# Where weights are coarser than float32, whose rounding would bury that.
MOVE_COARSE = 0.5


def token_weights_by_definition(
    rewards: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    objective: str,
    *,
    max_new_tokens: int,
    scaling: str | None = None,
    epsilon: float = 1e-4,
) -> Table:
    """w_pg of the loss -sum w_pg S_pg, ``[P][G]``, by loops (the published formulae: see :mod:`~.update.objective`).

    Args:
        rewards: ``[P][G]``.
        lengths: ``[P][G]``, tokens of each response.
        objective: a name of :data:`OBJECTIVES_BY_DEFINITION`.
        max_new_tokens: the length limit, which some objectives divide by.
        scaling: overrides the objective's own advantage scaling.
        epsilon: added to a standard deviation.

    Raises:
        KeyError: the objective or the scaling has no definition here.
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


def loss_slope_discrepancy(
    policy: Policy,
    rollouts: Rollouts,
    weights: Table,
    gradient: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    *,
    step: float,
    chunk_tokens: int,
) -> tuple[float, float | None]:
    """(gap, noise) of the slope <g, C u> against (L(theta + h u) - L(theta - h u)) / 2h, L = -sum w_pg S_pg on U.

    C is the identity except with DoRA (:mod:`pytest_entropy.policy.dora`).  The finite difference takes no derivative,
    so that the gap shows errors of sign, scale, token weights and the summing of pieces.  Steps h and 2h are
    extrapolated to 0 (Richardson), because some responses curve a hundred times more than others.  The gap is relative
    to sum |w_pg (dS_pg)| / 2h.  The noise is sum |w_pg| |slope at h - slope at 2h|, relative likewise: the rounding and
    the curvature of the slopes, which hardly cancel there; None where weights are float32 or finer.

    Args:
        policy: the policy before the step.
        rollouts: B_U prompts x G responses.
        weights: token weights w ``[B_U][G]`` by definition.
        gradient: g by live parameter name.
        direction: u by live parameter name.
        step: the first h; it is rescaled until the S_pg that changes most changes by about ``MOVE`` nats.
        chunk_tokens: token budget of a piece.
    """
    table, differences = np.array(weights), CentralDifferences(policy, rollouts, chunk_tokens)
    move = MOVE_COARSE if is_coarse(policy) else MOVE
    step, near = differences.usable(direction, step, move)
    along = along_slope(policy.model, direction)
    inner = sum(float((gradient[name].double() * u.double()).sum()) for name, u in along.items())
    far = differences.half(direction, 2 * step)
    slopes = [-float((table * moved_by).sum()) / h for h, moved_by in ((step, near), (2 * step, far))]
    size = float(np.abs(table * near).sum()) / step
    slope = (4 * slopes[0] - slopes[1]) / 3
    noise = float(np.abs(table * (near - far / 2)).sum()) / step / (size or 1.0) if is_coarse(policy) else None
    return (abs(slope - inner) / size if size else abs(inner)), noise


def norm_discrepancy(*pairs: tuple[float, Mapping[str, torch.Tensor]]) -> float:
    """Largest relative gap of a norm from the norm of its tensors' norms.

    Args:
        pairs: a norm, and the tensors by name that it is the norm of.
    """
    gaps = []
    for reported, tensors in pairs:
        norms = [torch.linalg.vector_norm(t.detach().double()).cpu() for t in tensors.values()]
        whole = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        gaps.append(abs(reported - whole) / (whole or 1.0))
    return largest(gaps)
