"""The scalar ``self_normalised``: the derivative at step 0 of the self-normalised entropy change, which is biased."""

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
    """X_n = (1/G) sum_g [grad H_g + (H_g - mean_h H_h) grad S_g]: the mean is over the whole group, g included.

    The derivative at h = 0 of the self-normalised change (:mod:`~.diagnostics.self_normalised`, docs/mathematics.md
    §7).  Biased: the part that comes from grad S is too small by the factor (G - 1)/G.

    Args:
        log_probs: not used.
        entropies: H_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: not used.
    """
    nats = entropies.detach().double().sum(-1)
    alive = mask.double() / mask.shape[1]
    return Weights(log_prob=(nats - nats.mean(1, keepdim=True)).unsqueeze(-1) * alive, entropy=alive)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g [H_g + (H_g - mean_h H_h) S_g]; the mean is over all h, g included."""
    totals = [sum(row) for row in prompt.entropies]
    factors = [own - statistics.fmean(totals) for own in totals]
    return LoopWeights(loops.per_response(factors, prompt.entropies), loops.equal(prompt.entropies))


ESTIMATOR = Estimator(weights, definition, mean="biased")
