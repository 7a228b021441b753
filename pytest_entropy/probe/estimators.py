"""The estimators of the entropy gradient, each as weights of a surrogate linear in (H_k, log pi(t_k)).

For prompt n the surrogate is  sum_{g,k} wH[g,k] H_k + wS[g,k] log pi(t_k)  with the weights held fixed; its
gradient is X_n.  The probe needs only s_n = <X_n, u>, so an estimator is nothing but its two weights
(docs/mathematics.md §3).  All tensors are ``[P, G, L]``, zero where no token counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Weights:
    """Surrogate weights ``[P, G, L]``; ``entropy`` None means zero."""

    log_prob: torch.Tensor
    entropy: torch.Tensor | None = None

    def surrogate(self, log_probs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        """The scalar whose derivative by epsilon_n is s_n, summed over prompts, in float64."""
        total = (self.log_prob * log_probs.double()).sum()
        if self.entropy is not None:
            total = total + (self.entropy * entropies.double()).sum()
        return total


Estimator = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Weights]


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


ESTIMATORS: dict[str, Estimator] = {
    "rao_blackwell": rao_blackwell,
    "rao_blackwell_no_baseline": rao_blackwell_no_baseline,
    "reinforce_loo": reinforce_loo,
    "score": score,
    "length_score": length_score,
}
