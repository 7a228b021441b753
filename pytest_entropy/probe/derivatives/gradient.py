"""Gradients as vectors over the trainable parameters: of the loss on U, of the entropy on E."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.dora import slope_gradient
from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.estimators import weights_for
from pytest_entropy.probe.parameter_vectors import vector_sum
from pytest_entropy.probe.pieces import scoring_chunks, worked


def policy_gradient(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """Gradient of the loss L = -sum_{p,g} w_pg S_pg, as a trainer's backward gives it (docs/mathematics.md §2).

    Args:
        policy: the gradient is over its trainable parameters.
        rollouts: B_U prompts x G responses.
        weights: token weights w ``[B_U, G]``.
        chunk_tokens: token budget of a piece, which bounds memory whatever B_U is.

    Returns:
        Tensors by live parameter name, float64, on the CPU.

    Raises:
        RunError: the gradient of a parameter, which the message names, is not finite.
    """
    return summed_gradient(policy, rollouts, Loss(weights), chunk_tokens=chunk_tokens)


def entropy_gradient(
    policy: Policy, rollouts: Rollouts, estimator: str, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """(1/B_E) sum_n X_n, the estimate of grad H as a vector (docs/mathematics.md §3).

    delta_h1 itself needs the scalars <X_n, u> only.

    Args:
        policy: the gradient is over its trainable parameters.
        rollouts: B_E prompts x G responses.
        estimator: name of the estimator that defines X_n.
        chunk_tokens: token budget of a piece, which bounds memory whatever B_E is.

    Returns:
        Tensors by live parameter name, float64, on the CPU, in nats per response per unit of the parameter.

    Raises:
        RunError: the gradient of a parameter, which the message names, is not finite.
    """
    coefficients = {estimator: _mean(rollouts)}
    return combined_gradient(policy, rollouts, coefficients, chunk_tokens=chunk_tokens)


def entropy_and_policy_gradient(
    policy: Policy, rollouts: Rollouts, estimator: str, weights: torch.Tensor, *, chunk_tokens: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Compute :func:`entropy_gradient` and :func:`policy_gradient` of the same rollouts from one scoring pass.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: P prompts x G responses.
        estimator: name of the estimator that defines X_n.
        weights: token weights w ``[P, G]`` of the loss.
        chunk_tokens: token budget of a piece, which bounds memory whatever P is.
    """
    objectives: list[Objective] = [Surrogate({estimator: _mean(rollouts)}), Loss(weights)]
    entropy, loss = summed_gradients(policy, rollouts, objectives, chunk_tokens=chunk_tokens)
    return slope_gradient(policy.model, entropy), loss


def combined_gradient(
    policy: Policy, rollouts: Rollouts, coefficients: Mapping[str, torch.Tensor], *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """sum_e sum_n c_en X_n^e over estimators e and prompts n, by live parameter name, float64, on the CPU.

    Args:
        policy: the gradient is over its trainable parameters.
        rollouts: P prompts x G responses.
        coefficients: c_e ``[P]`` by estimator name.
        chunk_tokens: token budget of a piece, which bounds memory whatever P is.

    Raises:
        RunError: the gradient of a parameter, which the message names, is not finite.
    """
    total = summed_gradient(policy, rollouts, Surrogate(coefficients), chunk_tokens=chunk_tokens)
    return slope_gradient(policy.model, total)


class Objective(Protocol):
    """A differentiable function of the policy that is a sum over prompts."""

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

    def select(self, indices: list[int]) -> Loss:
        """The loss of the prompts of these indices only."""
        return Loss(self.weights[indices])

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

    def select(self, indices: list[int]) -> Surrogate:
        """The combination over the prompts of these indices only."""
        return Surrogate({name: c[indices] for name, c in self.coefficients.items()})

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


@dataclass(frozen=True)
class GradientPiece:
    """A request for the gradients of one or several objectives over some prompts."""

    part: Rollouts
    objectives: tuple[Objective, ...]

    def compute(self, policy: Policy) -> list[dict[str, torch.Tensor]]:
        """Gradients by live parameter name, one dictionary per objective: one scoring pass, one backward each."""
        parameters, last = list(policy.trainable.values()), len(self.objectives) - 1
        with torch.enable_grad():
            forced = policy.teacher_force(self.part)
            gradients = [
                torch.autograd.grad(
                    objective.value(forced, self.part), parameters, allow_unused=True, retain_graph=i < last
                )
                for i, objective in enumerate(self.objectives)
            ]
        return [
            {name: g for name, g in zip(policy.trainable, grads, strict=True) if g is not None} for grads in gradients
        ]


def _mean(rollouts: Rollouts) -> torch.Tensor:
    return torch.full((len(rollouts),), 1 / len(rollouts), dtype=torch.float64)


def summed_gradient(
    policy: Policy, rollouts: Rollouts, objective: Objective, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """:func:`summed_gradients` of one objective: tensors by live parameter name, float64, on the CPU.

    Args:
        policy: the gradient is over its trainable parameters.
        rollouts: P prompts x G responses.
        objective: the sum over prompts that is differentiated.
        chunk_tokens: token budget of a piece.
    """
    return summed_gradients(policy, rollouts, [objective], chunk_tokens=chunk_tokens)[0]


def summed_gradients(
    policy: Policy, rollouts: Rollouts, objectives: Sequence[Objective], *, chunk_tokens: int
) -> list[dict[str, torch.Tensor]]:
    """Gradients of sums over prompts, one for each objective, by live parameter name, on the CPU.

    Pieces are summed in order in float64, so that their size changes rounding only; of very many parameters in float32,
    with what each addition rounds off.  Memory holds one vector for each objective, whatever the number of prompts.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: P prompts x G responses.
        objectives: the sums over prompts; each costs one more backward over the same graph.
        chunk_tokens: token budget of a piece.

    Raises:
        RunError: the gradient of a parameter, which the message names, is not finite.
    """
    sums = [vector_sum(policy.trainable) for _ in objectives]

    def piece(indices: list[int]) -> GradientPiece:
        return GradientPiece(rollouts.select(indices), tuple(objective.select(indices) for objective in objectives))

    # Gradients are added only when a piece is complete: one that runs out of memory has added nothing.
    for _, gradients in worked(policy, scoring_chunks(rollouts, chunk_tokens), piece):
        for total, grads in zip(sums, gradients, strict=True):
            total.add(grads)
    totals = [total.total() for total in sums]
    for name, g in ((name, g) for total in totals for name, g in total.items()):
        if not torch.isfinite(g).all():
            raise RunError(f"the gradient of {name} is not finite; check the weights and the rewards")
    return totals
