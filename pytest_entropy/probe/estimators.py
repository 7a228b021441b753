"""The estimators of the entropy gradient, each as weights of a surrogate linear in (H_k, log pi(t_k)).

For prompt n the surrogate is  sum_{g,k} wH[g,k] H_k + wS[g,k] log pi(t_k)  with the weights held fixed; its
gradient is X_n.  The probe needs only s_n = <X_n, u>, so an estimator is nothing but its weights
(docs/mathematics.md §3).  All tensors are ``[P, G, L]``, zero where no token counts.  An estimator may use what
was learnt from another batch (``rollouts.ActionValues``), and then weigh Q_k as well, the expected value of the
token to come; such weights are in :mod:`.action_values`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pytest_entropy.policy import Scores
from pytest_entropy.probe.action_values import Learnt
from pytest_entropy.rollouts import Rollouts


@dataclass(frozen=True)
class Weights:
    """Surrogate weights ``[P, G, L]``; None means zero."""

    log_prob: torch.Tensor
    entropy: torch.Tensor | None = None
    expected_value: torch.Tensor | None = None

    def surrogate(
        self, log_probs: torch.Tensor, entropies: torch.Tensor, expected_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The scalar whose derivative by epsilon_n is s_n, summed over prompts, in float64."""
        total = (self.log_prob * log_probs.double()).sum()
        if self.entropy is not None:
            total = total + (self.entropy * entropies.double()).sum()
        if self.expected_value is not None and expected_values is not None:
            total = total + (self.expected_value * expected_values.double()).sum()
        return total

    def scaled(self, factor: torch.Tensor) -> Weights:
        """The weights of each prompt times its factor ``[P]``."""
        own = factor.reshape(-1, 1, 1)
        return self._each(lambda weights: own * weights)

    def select(self, n: int, length: int) -> Weights:
        """Those of prompt n alone, cut to its own longest response."""
        return self._each(lambda weights: weights[n : n + 1, :, :length])

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Weights:
        entropy, expected = self.entropy, self.expected_value
        return Weights(
            change(self.log_prob),
            None if entropy is None else change(entropy),
            None if expected is None else change(expected),
        )


Estimator = Callable[..., Weights]


def entropy_to_go(entropies: torch.Tensor) -> torch.Tensor:
    """Gamma_k = sum_{j>k} H_j: what is still to come *after* token k, ``[P, G, L]`` nats."""
    return entropies.flip(-1).cumsum(-1).flip(-1) - entropies


def positional_baseline(gamma: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """b_k: mean of Gamma_k over the *other* responses of the group still alive at k; 0 where there is none.

    It depends on the prompt, the position and independent responses, so it takes nothing from the mean.
    """
    alive = mask.to(gamma.dtype)
    others = alive.sum(1, keepdim=True) - alive
    total = (gamma * alive).sum(1, keepdim=True) - gamma * alive
    return torch.where(others > 0, total / others.clamp(min=1), gamma.new_zeros(()))


def rao_blackwell(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
    """X_n = (1/G) sum_g sum_k [grad H_k + (Gamma_k - b_k) grad log pi(t_k)].

    The sampled surprisal -log pi(t_k) of the plain estimator is replaced by its conditional mean H_k
    (Rao-Blackwell), token by token; unbiased, with less variance.
    """
    nats = entropies.detach().double()
    gamma = entropy_to_go(nats)
    alive = mask.to(nats.dtype) / mask.shape[1]
    return Weights(log_prob=(gamma - positional_baseline(gamma, mask)) * alive, entropy=alive)


def rao_blackwell_no_baseline(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
    """The same with b_k = 0: what the baseline is worth is measured against this."""
    nats = entropies.detach().double()
    alive = mask.to(nats.dtype) / mask.shape[1]
    return Weights(log_prob=entropy_to_go(nats) * alive, entropy=alive)


def reinforce_loo(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
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


def score(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
    """l_n = (1/G) sum_g grad S_g, whose mean is zero if the scorer's policy is the sampler's."""
    return Weights(log_prob=mask.double() / mask.shape[1])


def length_score(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
    """(1/G) sum_g (L_g - mean_{h != g} L_h) grad S_g: the gradient of the mean response length."""
    group = mask.shape[1]
    lengths = mask.sum(-1).double()
    others = (lengths.sum(1, keepdim=True) - lengths) / max(group - 1, 1)
    return Weights(log_prob=(lengths - others).unsqueeze(-1) * mask / group)


def importance_sampled(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
    """X_n = (1/G) sum_g [grad H_g + (H_g - mean_{h != g} H_h) grad S_g], H_g = sum_k H_k of response g.

    The derivative at h = 0 of the importance-sampled change (:func:`.truth.entropy_change`), response by response:
    what that tends to as the step shrinks, with its noise.  Unbiased; no other use than that comparison.
    """
    nats = entropies.detach().double().sum(-1)
    centred = nats - (nats.sum(1, keepdim=True) - nats) / (mask.shape[1] - 1)
    alive = mask.double() / mask.shape[1]
    return Weights(log_prob=centred.unsqueeze(-1) * alive, entropy=alive)


def self_normalised(log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor) -> Weights:
    """X_n = (1/G) sum_g [grad H_g + (H_g - mean_h H_h) grad S_g]: the mean is over the whole group, g included.

    The derivative at h = 0 of the self-normalised change (:mod:`.self_normalised`).  Biased: the part that comes from
    grad S is too small by the factor (G - 1)/G.
    """
    nats = entropies.detach().double().sum(-1)
    alive = mask.double() / mask.shape[1]
    return Weights(log_prob=(nats - nats.mean(1, keepdim=True)).unsqueeze(-1) * alive, entropy=alive)


def action_value(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, learnt: Learnt | None = None
) -> Weights:
    """X_n = (1/G) sum_g sum_k [grad H_k + (Gamma_k - m_k - q(t_k) - c_k) grad log pi(t_k) + sum_u q(u) grad pi(u)].

    m_k and q come from the update batch, c_k = share times the mean of Gamma_k - m_k - q(t_k) over the other
    responses of the group alive at k.  The last sum is the expectation of what q(t_k) takes away, whatever q is
    (an action-dependent baseline: Gu et al. 2017, Q-Prop; Liu et al. 2018, Stein control variates), so the mean
    stays and the noise of the choice of t_k goes.  With nothing learnt (``learnt`` None) it is rao_blackwell.
    """
    nats = entropies.detach().double()
    gamma = entropy_to_go(nats)
    alive = mask.to(nats.dtype) / mask.shape[1]
    if learnt is None:
        return Weights(log_prob=(gamma - positional_baseline(gamma, mask)) * alive, entropy=alive)
    rest = gamma - learnt.position - learnt.own
    centred = rest - learnt.share * positional_baseline(rest, mask)
    return Weights(log_prob=centred * alive, entropy=alive, expected_value=alive)


# Those that use what the rollouts carry of another batch.
LEARNING = frozenset({"action_value"})
ESTIMATORS: dict[str, Estimator] = {
    "action_value": action_value,
    "rao_blackwell": rao_blackwell,
    "rao_blackwell_no_baseline": rao_blackwell_no_baseline,
    "reinforce_loo": reinforce_loo,
    "score": score,
    "length_score": length_score,
    "importance_sampled": importance_sampled,
    "self_normalised": self_normalised,
}


def weights_for(name: str, scores: Scores, part: Rollouts) -> Weights:
    """The named estimator's weights for the prompts of ``part``, scored.

    Raises:
        KeyError: no such estimator.
        ValueError: an estimator that cannot work with this G.
    """
    log_probs, entropies = scores.log_probs, scores.entropies
    mask = part.mask.to(log_probs.device)
    if name in LEARNING and part.action_values is not None:
        return action_value(log_probs, entropies, mask, Learnt.of(part, log_probs.device))
    return ESTIMATORS[name](log_probs, entropies, mask)
