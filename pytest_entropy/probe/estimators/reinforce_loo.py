"""The score times the sequence surprisal, with the mean of the other responses taken off (leave one out)."""

from __future__ import annotations

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """X_n = -(1/G) sum_g (S_g - mean_{h != g} S_h) grad S_g, S the sequence log-probability.

    Raises:
        ValueError: G = 1, where there is no other response to take the mean of.
    """
    group = mask.shape[1]
    if group < 2:
        raise ValueError("reinforce_loo needs G >= 2: with one response there is no leave-one-out mean")
    sequence = log_probs.detach().double().sum(-1)
    others = (sequence.sum(1, keepdim=True) - sequence) / (group - 1)
    return Weights(log_prob=-(sequence - others).unsqueeze(-1) * mask / group)


def definition(prompt: OnePrompt) -> LoopWeights:
    """-(1/G) sum_g (S_g - mean_{h != g} S_h) S_g, S the sequence log-probability."""
    sequence = [sum(row) for row in prompt.log_probs]
    by_log_prob = []
    for g, row in enumerate(prompt.log_probs):
        others = [sequence[h] for h in range(prompt.group) if h != g]
        by_log_prob.append([-(sequence[g] - sum(others) / len(others)) / prompt.group] * len(row))
    return LoopWeights(by_log_prob, loops.zero(prompt.entropies))


ESTIMATOR = Estimator(weights, definition)
