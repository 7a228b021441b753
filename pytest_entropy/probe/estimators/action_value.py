"""The estimator ``action_value``: rao_blackwell with a control variate by context and token.

Source: docs/variance-reduction.md.
"""

from __future__ import annotations

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators import base, rao_blackwell
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles import loops
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


def weights(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    """X_n = (1/G) sum_g sum_k [grad H_k + (C_k - m_k - q_k(t_k)) grad log pi(t_k) + sum_u q_k(u) grad pi(u)].

    C_k = sum_{j>k} [H_j - (q_j(t_j) - sum_u q_j(u) pi(u))] is the entropy-to-go cleaned of what later tokens are known
    to bring: what is taken off has mean 0 given the prefix; where that adds noise on U, C_k is sum_{j>k} H_j.  The
    baseline m_k is a sum of three: of the position, of the prefix's hidden states, and a share of what these and
    q_k(t_k) leave of C_k, on average, in the group's other responses that reach k, which are independent of this one.
    It and q_k(u) = q(c_k, u), c_k the context, are learnt from the update batch.  The last sum adds back the exact
    expectation of what q_k(t_k) takes away, whatever q is, so the mean stays and the noise of the choice of t_k goes
    (an action-dependent baseline: Gu et al. 2017, Q-Prop; Liu et al. 2018, Stein control variates).

    Args:
        log_probs: not used.
        entropies: H_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count.
        control_variate: m and q at the tokens; None makes the estimator ``rao_blackwell``.
    """
    if control_variate is None:
        return rao_blackwell.weights(log_probs, entropies, mask)
    alive = mask.to(torch.float64)
    rest = centred(entropies.detach().double(), alive, control_variate)
    rest = rest - control_variate.share * base.positional_baseline(rest, mask)
    alive /= mask.shape[1]
    return Weights(log_prob=rest * alive, entropy=alive, expected_value=alive)


def centred(nats: torch.Tensor, alive: torch.Tensor, control_variate: ControlVariate) -> torch.Tensor:
    """What is left of C_k by position, prefix and q_k(t_k), before other responses come in, ``[P, G, L]`` float64 nats.

    Args:
        nats: H_k ``[P, G, L]`` float64, 0 where no token counts.
        alive: ``[P, G, L]`` float64, 1 for the tokens that count, else 0.
        control_variate: what was learnt from another batch.
    """
    known = control_variate.cleans * (control_variate.own - control_variate.expected) * alive
    return base.entropy_to_go(nats - known) - control_variate.baseline - control_variate.own


def definition(prompt: OnePrompt) -> LoopWeights:
    """Weights (C_k - m_k - q_k(t_k)) / G of log pi(t_k); those of H_k and of sum_u q_k(u) pi(u) are 1/G.

    The tables are not recomputed: whatever they hold, the estimator's mean is the same.
    """
    taught = prompt.taught
    if taught is None:
        return rao_blackwell.definition(prompt)
    left, q = [], []
    columns = prompt.responses, prompt.entropies, prompt.contexts, prompt.expected, prompt.prefix_values
    for ids, nats, contexts, expected, of_prefix in zip(*columns, strict=True):
        values = [taught.values_in(context) for context in contexts]
        own = [value.of(token) for value, token in zip(values, ids, strict=True)]
        known = [a - b if taught.cleans else 0.0 for a, b in zip(own, expected, strict=True)]
        (cleaned,) = loops.to_go([[h - k for h, k in zip(nats, known, strict=True)]])
        left.append([c - taught.position[k] - of_prefix[k] - own[k] for k, c in enumerate(cleaned)])
        q.append(values)
    by_log_prob = [
        [(own - taught.share * loops.mean_of_others(left, g, k)) / prompt.group for k, own in enumerate(row)]
        for g, row in enumerate(left)
    ]
    return LoopWeights(by_log_prob, equal := loops.equal(prompt.entropies), equal, q)


ESTIMATOR = Estimator(weights, definition, learns=True, separable=False)
