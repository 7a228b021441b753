"""The scalar ``score``: the mean score grad S_g, with expectation 0 if sampler and scorer use the same policy."""

from __future__ import annotations

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """X_n = (1/G) sum_g grad S_g, with expectation 0 if the scorer's policy is the sampler's.

    Args:
        log_probs, entropies: not used.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: not used.
    """
    return Weights(log_prob=mask.double() / mask.shape[1])


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g S_g."""
    return LoopWeights(loops.equal(prompt.log_probs), loops.zero(prompt.log_probs))


ESTIMATOR = Estimator(weights, definition, mean="zero")
