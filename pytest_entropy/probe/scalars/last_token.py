"""The scalar ``last_token``: how entropy and expected action value move at a response's last token.

Of responses that are the opening of U's responses and one token more, it is what a prompt alone fixes of s_n
(docs/variance-reduction.md, "Companion reads").
"""

from __future__ import annotations

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """(1/G) sum_g grad [H_K + sum_u q(c_K, u) pi(u)], K the last token of response g.

    Args:
        log_probs, entropies: not used.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: None leaves the second term out.
    """
    following = torch.nn.functional.pad(mask[..., 1:], (0, 1))
    last = (mask & ~following).to(torch.float64) / mask.shape[1]
    return Weights(torch.zeros_like(last), last, None if control_variate is None else last)


def definition(prompt: OnePrompt) -> LoopWeights:
    """(1/G) sum_g [H_K + sum_u q(c_K, u) pi(u)]."""
    last = [[0.0] * (len(row) - 1) + [1 / prompt.group] for row in prompt.entropies]
    if prompt.taught is None:
        return LoopWeights(loops.zero(prompt.entropies), last)
    q = [list(map(prompt.taught.values_in, contexts)) for contexts in prompt.contexts]
    return LoopWeights(loops.zero(prompt.entropies), last, last, q)


ESTIMATOR = Estimator(weights, definition, learns=True, mean="biased")
