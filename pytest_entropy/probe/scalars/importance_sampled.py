"""The scalar ``importance_sampled``: the derivative at step 0 of the importance-sampled entropy change."""

from __future__ import annotations

import statistics

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """The scalar ``importance_sampled``: X_n = (1/G) sum_g [grad H_g + (H_g - mean_{h != g} H_h) grad S_g].

    H_g = sum_k H_k of response g.  The derivative at h = 0 of the importance-sampled change on the same responses
    (:mod:`~.importance_sampling`, docs/mathematics.md §7).  Unbiased; that change is compared with it, noise included.

    Args:
        log_probs: not used.
        entropies: H_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count; G >= 2.
        control_variate: not used.
    """
    nats = entropies.detach().double().sum(-1)
    centred = nats - (nats.sum(1, keepdim=True) - nats) / (mask.shape[1] - 1)
    alive = mask.double() / mask.shape[1]
    return Weights(log_prob=centred.unsqueeze(-1) * alive, entropy=alive)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g [H_g + (H_g - mean_{h != g} H_h) S_g], H_g = sum_k H_k."""
    totals = [sum(row) for row in prompt.entropies]
    others = [statistics.fmean(totals[:g] + totals[g + 1 :]) for g in range(len(totals))]
    factors = [own - other for own, other in zip(totals, others, strict=True)]
    return LoopWeights(loops.per_response(factors, prompt.entropies), loops.equal(prompt.entropies))


ESTIMATOR = Estimator(weights, definition)
