"""What gradients are taken of: sums over prompts of the loss on U, and of estimators' surrogates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from pytest_entropy.policy.policy import TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.estimators import Weights, weights_for


class Objective(Protocol):
    """A differentiable function of the policy that is a sum over prompts."""

    @property
    def needs_scores(self) -> bool:
        """Whether the weights depend on the scoring pass."""

    def as_surrogates(self, forced: TeacherForced | None, part: Rollouts) -> list[Weights]:
        """The sum as surrogates with fixed weights ``[p, G, L]``.

        Args:
            forced: the scoring pass of ``part``; None where it is not needed.
            part: the rollouts of the selected prompts.
        """

    def select(self, indices: list[int]) -> Objective:
        """The sum over the prompts of these indices only."""

    def value(self, forced: TeacherForced, part: Rollouts) -> torch.Tensor:
        """The sum as a scalar tensor, float64, differentiable by the policy's parameters.

        Args:
            forced: the scoring pass of ``part``, in whose graph the parameters are.
            part: the rollouts of the selected prompts.
        """


@dataclass(frozen=True)
class Loss:
    """The policy-gradient loss -sum_{p,g} w_pg S_pg with token weights ``[P, G]``."""

    weights: torch.Tensor
    needs_scores: ClassVar[bool] = False

    def select(self, indices: list[int]) -> Loss:
        """The loss of the prompts of these indices only."""
        return Loss(self.weights[indices])

    def as_surrogates(self, forced: TeacherForced | None, part: Rollouts) -> list[Weights]:
        """The loss as a surrogate with the weights -w_pg of every token.

        Args:
            forced: not used.
            part: the rollouts of the selected prompts.
        """
        mask = part.mask
        return [Weights(-self.weights.to(mask.device).unsqueeze(-1) * mask)]

    def value(self, forced: TeacherForced, part: Rollouts) -> torch.Tensor:
        """The loss as a scalar tensor, float64, differentiable by the policy's parameters.

        Args:
            forced: the scoring pass of ``part``, in whose graph the parameters are.
            part: the rollouts of the selected prompts.
        """
        own = self.weights.to(forced.log_probs.device)
        return -(own * forced.log_probs.double().sum(-1)).sum()


@dataclass(frozen=True)
class Surrogate:
    """sum_e sum_n c_en (surrogate of estimator e for prompt n); ``coefficients`` c_e are ``[P]`` by estimator name."""

    coefficients: Mapping[str, torch.Tensor]
    needs_scores: ClassVar[bool] = True

    def select(self, indices: list[int]) -> Surrogate:
        """The combination over the prompts of these indices only."""
        return Surrogate({name: c[indices] for name, c in self.coefficients.items()})

    def as_surrogates(self, forced: TeacherForced | None, part: Rollouts) -> list[Weights]:
        """Each estimator's weights, times the coefficients.

        Args:
            forced: the scoring pass of ``part``.
            part: the rollouts of the selected prompts.
        """
        assert forced is not None
        device = forced.log_probs.device
        return [weights_for(name, forced, part).scaled(c.to(device)) for name, c in self.coefficients.items()]

    def value(self, forced: TeacherForced, part: Rollouts) -> torch.Tensor:
        """The combination as a scalar tensor, float64, differentiable by the policy's parameters.

        Args:
            forced: the scoring pass of ``part``, in whose graph the parameters are.
            part: the rollouts of the selected prompts.
        """
        device = forced.log_probs.device
        total = torch.zeros((), dtype=torch.float64, device=device)
        for name, c in self.coefficients.items():
            weights = weights_for(name, forced, part).scaled(c.to(device))
            total = total + weights.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
        return total
