"""What an estimator of the entropy gradient is: weights of a surrogate linear in (H_k, log pi(t_k)).

For prompt n the surrogate is  sum_{g,k} wH[g,k] H_k + wS[g,k] log pi(t_k)  with the weights held fixed; its
gradient is X_n.  The probe needs only s_n = <X_n, u>, so an estimator is nothing but its weights
(docs/mathematics.md §3).  All tensors are ``[P, G, L]``, zero where no token counts.  An estimator may use what
was learnt from another batch (:class:`~.policy.rollouts.ControlVariateTables`), and then weigh Q_k as well, the
expected value of the token to come (:mod:`~.probe.control_variate`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.oracles.loops import LoopWeights, OnePrompt


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


@dataclass(frozen=True)
class Estimator:
    """An estimator of the entropy gradient, or another scalar per prompt that is a surrogate's derivative along u.

    Attributes:
        weights: of the surrogate, from ``log_probs``, ``entropies`` (nats) and ``mask``, all ``[P, G, L]``, and
            ``control_variate``, which is None unless ``learns`` and the rollouts carry what another batch taught.
        definition: the same weights of one prompt in plain loops; it shares no code with ``weights``, and every sanity
            check holds the one against the other.
        learns: whether it uses what the update batch taught.
        separable: whether X_n rests on prompt n alone, as mode ``u_statistic`` needs it.
        mean: the expectation of its X_n: ``"entropy"`` (the gradient of the entropy), ``"zero"``, ``"length"`` (the
            gradient of the mean response length), ``"biased"`` for none that is of use.

    Raises:
        TypeError: no definition, or weights that cannot be called.
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
                "an estimator needs a definition in plain loops, which every sanity check holds its weights against"
            )


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
