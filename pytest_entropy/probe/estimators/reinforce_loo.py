"""The estimator ``reinforce_loo``: score times surprisal, with a leave-one-out baseline (docs/mathematics.md §3)."""

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

    The baseline is that of RLOO (arXiv 2402.14740), with the surprisal -S_g in the place of a reward.

    Args:
        log_probs: log pi(t_k) ``[P, G, L]``, nats.
        entropies: not used.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: not used.

    Raises:
        ValueError: G = 1, where the leave-one-out mean does not exist.
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
