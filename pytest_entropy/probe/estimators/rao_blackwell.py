"""The estimator ``rao_blackwell``: conditional means of surprisals, positional baseline (docs/mathematics.md §3)."""

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
    """X_n = (1/G) sum_g sum_k [grad H_k + (Gamma_k - b_k) grad log pi(t_k)].

    The sampled surprisal -log pi(t_k) of the score-function estimator is replaced by its conditional mean H_k
    (Rao-Blackwell), token by token.  Unbiased, with less variance; b_k is :func:`~.base.positional_baseline`.

    Args:
        log_probs: not used.
        entropies: H_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: not used.
    """
    nats = entropies.detach().double()
    gamma = base.entropy_to_go(nats)
    alive = mask.to(nats.dtype) / mask.shape[1]
    return Weights(log_prob=(gamma - base.positional_baseline(gamma, mask)) * alive, entropy=alive)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g sum_k [H_k + (Gamma_k - b_k) log pi(t_k)], b_k the mean over the other responses that reach k."""
    gammas = loops.to_go(prompt.entropies)
    by_log_prob = [
        [(gamma - loops.mean_of_others(gammas, g, k)) / prompt.group for k, gamma in enumerate(row)]
        for g, row in enumerate(gammas)
    ]
    return LoopWeights(by_log_prob, loops.equal(prompt.entropies))


ESTIMATOR = Estimator(weights, definition)
