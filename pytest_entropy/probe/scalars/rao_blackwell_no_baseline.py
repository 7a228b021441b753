"""Rao-Blackwell with b_k = 0: what the baseline is worth is measured against it."""

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
    """The same with b_k = 0: what the baseline is worth is measured against this."""
    nats = entropies.detach().double()
    alive = mask.to(nats.dtype) / mask.shape[1]
    return Weights(log_prob=base.entropy_to_go(nats) * alive, entropy=alive)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g sum_k [H_k + Gamma_k log pi(t_k)]."""
    by_log_prob = [[gamma / prompt.group for gamma in row] for row in loops.to_go(prompt.entropies)]
    return LoopWeights(by_log_prob, loops.equal(prompt.entropies))


ESTIMATOR = Estimator(weights, definition)
