"""The type of an estimator of the entropy gradient: weights of a surrogate linear in (H_k, log pi(t_k)).

For prompt n the surrogate is  sum_{g,k} wH[g,k] H_k + wS[g,k] log pi(t_k)  with the weights held fixed; its
gradient is X_n.  The probe needs only s_n = <X_n, u>, so an estimator is defined by its weights
(docs/mathematics.md §3).  All tensors are ``[P, G, L]``, zero where no token counts.  An estimator may use tables
learnt from another batch (:class:`~.policy.action_values.ControlVariateTables`); its surrogate may then have a third
term with weights of Q_k = sum_u q(c_k, u) pi(u), the expected value of the token at k (:mod:`~.probe.control_variate`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


@dataclass(frozen=True)
class Weights:
    """Surrogate weights ``[P, G, L]``; None means zero.

    Attributes:
        log_prob: of log pi(t_k).
        entropy: of H_k.
        expected_value: of Q_k = sum_u q(c_k, u) pi(u).
    """

    log_prob: torch.Tensor
    entropy: torch.Tensor | None = None
    expected_value: torch.Tensor | None = None

    def surrogate(
        self, log_probs: torch.Tensor, entropies: torch.Tensor, expected_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The surrogate summed over prompts, a scalar in float64 whose derivative by epsilon_n is s_n.

        Args:
            log_probs: log pi(t_k) ``[P, G, L]``, nats.
            entropies: H_k ``[P, G, L]``, nats.
            expected_values: Q_k ``[P, G, L]``, nats; None where the rollouts carry no tables.
        """
        total = (self.log_prob * log_probs.double()).sum()
        if self.entropy is not None:
            total = total + (self.entropy * entropies.double()).sum()
        if self.expected_value is not None and expected_values is not None:
            total = total + (self.expected_value * expected_values.double()).sum()
        return total

    def scaled(self, factor: torch.Tensor) -> Weights:
        """The weights of each prompt multiplied by the prompt's factor, ``[P]``."""
        by_prompt = factor.reshape(-1, 1, 1)
        return self._each(lambda weights: by_prompt * weights)

    def select(self, n: int, length: int) -> Weights:
        """The weights ``[1, G, length]`` of prompt n alone.

        Args:
            n: index of the prompt.
            length: tokens of the prompt's longest response.
        """
        return self._each(lambda weights: weights[n : n + 1, :, :length])

    def responses_between(self, first: int, last: int, length: int) -> Weights:
        """The weights ``[P, last - first, length]`` of some of each prompt's responses.

        Args:
            first, last: indices in the group.
            length: tokens of the longest of them.
        """
        return self._each(lambda weights: weights[:, first:last, :length])

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Weights:
        entropy, expected = self.entropy, self.expected_value
        return Weights(
            change(self.log_prob),
            None if entropy is None else change(entropy),
            None if expected is None else change(expected),
        )


@dataclass(frozen=True)
class Estimator:
    """An estimator of the entropy gradient, or another scalar per prompt that is a surrogate's derivative along u.

    Attributes:
        weights: a function that computes the weights from ``log_probs``, ``entropies`` (nats) and ``mask``, each
            ``[P, G, L]``, and ``control_variate``, None unless ``learns`` is set and the rollouts carry tables.
        definition: a function that gives the same weights for one prompt in plain loops; it shares no code with
            ``weights``, and the checks compare the two.
        learns: whether it uses control variate tables learnt from the update batch.
        separable: whether X_n depends on prompt n alone, which mode ``u_statistic`` requires.
        mean: the expectation of X_n: ``"entropy"`` (the gradient of the entropy), ``"zero"``, ``"length"`` (the
            gradient of the mean response length), or ``"biased"`` (none of these).

    Raises:
        TypeError: ``weights`` or ``definition`` cannot be called.
    """

    weights: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, ControlVariate | None], Weights]
    definition: Callable[[OnePrompt], LoopWeights]
    learns: bool = False
    separable: bool = True
    mean: str = "entropy"

    def __post_init__(self) -> None:
        if not callable(self.weights):
            raise TypeError("an estimator's weights are a function of log_probs, entropies, mask and control_variate")
        if not callable(self.definition):
            raise TypeError(
                "an estimator needs a definition in plain loops, with which every sanity check compares its weights"
            )


def entropy_to_go(entropies: torch.Tensor) -> torch.Tensor:
    """Gamma_k = sum_{j>k} H_j, the entropy of the tokens *after* token k, ``[P, G, L]`` nats."""
    return entropies.flip(-1).cumsum(-1).flip(-1) - entropies


def positional_baseline(gamma: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """b_k ``[P, G, L]``: mean of Gamma_k over the *other* responses of the group that reach k; 0 where there is none.

    It depends on the prompt, the position and independent responses only, so it does not change the estimator's mean.

    Args:
        gamma: Gamma_k ``[P, G, L]``, nats.
        mask: ``[P, G, L]`` bool, the tokens that count.
    """
    alive = mask.to(gamma.dtype)
    others = alive.sum(1, keepdim=True) - alive
    total = (gamma * alive).sum(1, keepdim=True) - gamma * alive
    return torch.where(others > 0, total / others.clamp(min=1), gamma.new_zeros(()))
