"""The estimator ``action_value``: rao_blackwell with a control variate by token (docs/variance-reduction.md)."""

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
    """X_n = (1/G) sum_g sum_k [grad H_k + (Gamma_k - m_k - q(t_k) - c_k) grad log pi(t_k) + sum_u q(u) grad pi(u)].

    m_k and q are learnt from the update batch; c_k is ``share`` times the mean of Gamma_k - m_k - q(t_k) over the other
    responses of the group alive at k.  The last sum adds back the exact expectation of what q(t_k) takes away, whatever
    q is, so the mean stays and the noise of the choice of t_k goes (an action-dependent baseline: Gu et al. 2017,
    Q-Prop; Liu et al. 2018, Stein control variates).

    Args:
        log_probs: not used.
        entropies: H_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: m, q and ``share``; None makes the estimator ``rao_blackwell``.
    """
    nats = entropies.detach().double()
    gamma = base.entropy_to_go(nats)
    alive = mask.to(nats.dtype) / mask.shape[1]
    if control_variate is None:
        return Weights(log_prob=(gamma - base.positional_baseline(gamma, mask)) * alive, entropy=alive)
    rest = gamma - control_variate.position - control_variate.own
    centred = rest - control_variate.share * base.positional_baseline(rest, mask)
    return Weights(log_prob=centred * alive, entropy=alive, expected_value=alive)


def definition(prompt: OnePrompt) -> LoopWeights:
    """Weights (Gamma_k - m_k - q(t_k) - c_k) / G of log pi(t_k); those of H_k and of sum_u q(u) pi(u) are 1/G.

    The tables are not recomputed: whatever they hold, the estimator's mean is the same.
    """
    gammas, taught = loops.to_go(prompt.entropies), prompt.taught
    if taught is None:
        rests, share, q = gammas, 1.0, []
    else:
        q, share = taught.token, taught.share
        rests = [
            [gamma - taught.position[k] - (q[ids[k]] if ids[k] < len(q) else 0.0) for k, gamma in enumerate(row)]
            for ids, row in zip(prompt.responses, gammas, strict=True)
        ]
    by_log_prob = [
        [(rest - share * loops.mean_of_others(rests, g, k)) / prompt.group for k, rest in enumerate(row)]
        for g, row in enumerate(rests)
    ]
    return LoopWeights(by_log_prob, loops.equal(prompt.entropies), q)


ESTIMATOR = Estimator(weights, definition, learns=True, separable=False)
