"""The scalar ``rao_blackwell_no_baseline``: rao_blackwell with b_k = 0, which shows what the baseline is worth."""

from __future__ import annotations

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators import base
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """X_n = (1/G) sum_g sum_k [grad H_k + Gamma_k grad log pi(t_k)]: ``rao_blackwell`` with b_k = 0; unbiased.

    Args:
        log_probs: not used.
        entropies: H_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: not used.
    """
    nats = entropies.detach().double()
    alive = mask.to(nats.dtype) / mask.shape[1]
    return Weights(log_prob=base.entropy_to_go(nats) * alive, entropy=alive)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g sum_k [H_k + Gamma_k log pi(t_k)]."""
    by_log_prob = [[gamma / prompt.group for gamma in row] for row in loops.to_go(prompt.entropies)]
    return LoopWeights(by_log_prob, loops.equal(prompt.entropies))


ESTIMATOR = Estimator(weights, definition)
