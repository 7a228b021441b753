"""Ground truth: the entropy at theta + h u itself, from the same responses by importance sampling.

With log-weights l_g = log pi_h(t_g) - log pi_0(t_g) and H_g = sum_k H_k, the change of a prompt's entropy is

    Delta_n(h) = (1/G) sum_g [ w_g H_g(h) - H_g(0) - (w_g - 1) b_g ],   b_g = mean_{h != g} H_h(0).

E[w] = 1 exactly and b_g is independent of response g, so this is unbiased at every h, without the bias of
self-normalised weights.  (Delta(h) - Delta(-h)) / 2h is <grad H, u> up to O(h^2) (docs/mathematics.md §7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from pytest_entropy.policy import Policy
from pytest_entropy.probe.chunks import scoring_chunks, work_through
from pytest_entropy.rollouts import Rollouts

# The step is chosen so that log-weights have about this spread: far above rounding, far below curvature.
LOG_WEIGHT_SPREAD = 0.02


@contextmanager
def moved(policy: Policy, direction: Mapping[str, torch.Tensor], step: float) -> Iterator[None]:
    """Within the block the parameters are theta + step * u; afterwards they are theta again, bit by bit."""
    before = {name: policy.trainable[name].detach().clone() for name in direction}
    try:
        with torch.no_grad():
            for name, u in direction.items():
                parameter = policy.trainable[name]
                parameter.add_((step * u).to(device=parameter.device, dtype=parameter.dtype))
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                policy.trainable[name].copy_(value)


def sequence_totals(policy: Policy, rollouts: Rollouts, *, chunk_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, sum_k H_k) of every response at the policy's present parameters, each ``[P, G]`` float64 nats."""

    def work(slots: list[int]) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            scores = policy.score(rollouts.select(slots))
        return scores.log_probs.double().sum(-1).cpu().numpy(), scores.entropies.double().sum(-1).cpu().numpy()

    shape = (len(rollouts), rollouts.group_size)
    sequence, nats = np.zeros(shape), np.zeros(shape)
    for slots, (s, h) in work_through(scoring_chunks(rollouts, chunk_tokens), work):
        sequence[slots], nats[slots] = s, h
    return sequence, nats


def entropy_change(
    policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor], step: float, *, chunk_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """(Delta_n(step) ``[P]`` in nats per response, weights w ``[P, G]``), unbiased.

    ``step`` is h: the parameters are moved to theta + h u and back.

    Raises:
        ValueError: G = 1, where there is no other response for the baseline.
    """
    if rollouts.group_size < 2:
        raise ValueError("the importance-sampled entropy change needs G >= 2")
    old, nats = sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens)
    with moved(policy, direction, step):
        new, new_nats = sequence_totals(policy, rollouts, chunk_tokens=chunk_tokens)
    weights = np.exp(new - old)
    others = (nats.sum(1, keepdims=True) - nats) / (rollouts.group_size - 1)
    return (weights * new_nats - nats - (weights - 1) * others).mean(1), weights


def effective_sample_size(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2 as a share of the number of responses, in (0, 1]."""
    return float(weights.sum() ** 2 / np.square(weights).sum() / weights.size)


def entropy_slope(
    policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor], score: np.ndarray, *, chunk_tokens: int
) -> np.ndarray:
    """(Delta_n(h) - Delta_n(-h)) / 2h ``[P]``: what s_n estimates, without any derivative.

    ``score`` ``[P]`` are the directional scores <grad S, u> averaged over each group; they set the step.
    """
    spread = float(np.std(score)) * rollouts.group_size**0.5
    if spread == 0:
        return np.zeros(len(rollouts))
    step = LOG_WEIGHT_SPREAD / spread
    ahead, _ = entropy_change(policy, rollouts, direction, step, chunk_tokens=chunk_tokens)
    behind, _ = entropy_change(policy, rollouts, direction, -step, chunk_tokens=chunk_tokens)
    return (ahead - behind) / (2 * step)
