"""The scalar ``length_score``: the gradient of the mean response length (docs/mathematics.md §3)."""

from __future__ import annotations

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """(1/G) sum_g (L_g - mean_{h != g} L_h) grad S_g: the gradient of the mean response length, in tokens.

    Args:
        log_probs, entropies: not used.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: not used.
    """
    group = mask.shape[1]
    lengths = mask.sum(-1).double()
    others = (lengths.sum(1, keepdim=True) - lengths) / max(group - 1, 1)
    return Weights(log_prob=(lengths - others).unsqueeze(-1) * mask / group)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g (L_g - mean_{h != g} L_h) S_g."""
    by_log_prob = []
    for g, row in enumerate(prompt.log_probs):
        others = [len(prompt.log_probs[h]) for h in range(prompt.group) if h != g]
        by_log_prob.append([(len(row) - sum(others) / len(others)) / prompt.group] * len(row))
    return LoopWeights(by_log_prob, loops.zero(prompt.log_probs))


ESTIMATOR = Estimator(weights, definition, mean="length")
