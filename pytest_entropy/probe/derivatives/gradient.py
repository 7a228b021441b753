"""Gradients as vectors over the trainable parameters: of the loss on U, of the entropy on E."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.dora import slope_gradient
from pytest_entropy.policy.merged_adapter import require_unmerged
from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.by_rows import add_to, fewer, in_turn, rows_within, scored_in_turn
from pytest_entropy.probe.derivatives.objectives import Loss, Objective, Surrogate
from pytest_entropy.probe.estimators import Weights
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


@dataclass(frozen=True)
class GradientPiece:
    """A request for the gradients of one or several objectives over some prompts.

    Attributes:
        part: the prompts' rollouts, p prompts x G responses.
        objectives: what is differentiated.
        rows: number of responses to a prompt that are computed at once; None for all.
    """

    part: Rollouts
    objectives: tuple[Objective, ...]
    rows: int | None = None

    def compute(self, policy: Policy) -> list[dict[str, torch.Tensor]]:
        """Gradients by live parameter name, one dictionary per objective: one scoring pass, one backward each."""
        group = self.part.group_size
        if self.rows is None or self.rows >= group:
            return _gradients(policy, self.part, [partial(o.value, part=self.part) for o in self.objectives])
        scored = any(objective.needs_scores for objective in self.objectives)
        forced = scored_in_turn(policy, self.part, self.rows) if scored else None
        weights = [objective.as_surrogates(forced, self.part) for objective in self.objectives]
        totals: list[dict[str, torch.Tensor]] = [{} for _ in self.objectives]
        for first, last in in_turn(group, self.rows):
            some = self.part.responses_between(first, last)
            own = [[w.responses_between(first, last, some.tokens.shape[2]) for w in several] for several in weights]
            gradients = _gradients(policy, some, [partial(_surrogates, several) for several in own])
            for total, found in zip(totals, gradients, strict=True):
                add_to(total, found)
        return totals

    def lesser(self) -> GradientPiece | None:
        """The same request computed half as many responses at a time; None where it is one already."""
        rows = fewer(self.rows, self.part.group_size)
        return None if rows is None else replace(self, rows=rows)


def _surrogates(weights: Sequence[Weights], forced: TeacherForced) -> torch.Tensor:
    values = [w.surrogate(forced.log_probs, forced.entropies, forced.expected_values) for w in weights]
    return torch.stack(values).sum()


def _gradients(
    policy: Policy, part: Rollouts, values: Sequence[Callable[[TeacherForced], torch.Tensor]]
) -> list[dict[str, torch.Tensor]]:
    """Gradients of functions of one scoring pass by live parameter name; a backward each over the same graph."""
    parameters, last = list(policy.trainable.values()), len(values) - 1
    require_unmerged(policy)
    with torch.enable_grad():
        forced = policy.teacher_force(part)
        gradients = [
            torch.autograd.grad(value(forced), parameters, allow_unused=True, retain_graph=i < last)
            for i, value in enumerate(values)
        ]
    return [{name: g for name, g in zip(policy.trainable, grads, strict=True) if g is not None} for grads in gradients]


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
    totals = [GradientSum(policy) for _ in objectives]

    def piece(indices: list[int]) -> GradientPiece:
        part = rollouts.select(indices)
        own = tuple(objective.select(indices) for objective in objectives)
        return GradientPiece(part, own, rows_within(part, chunk_tokens))

    # Gradients are added only when a piece is complete: one that runs out of memory has added nothing.
    for _, gradients in worked(policy, scoring_chunks(rollouts, chunk_tokens, pads=policy.pads), piece):
        for total, grads in zip(totals, gradients, strict=True):
            total.add(grads)
    return [total.finite() for total in totals]


class GradientSum:
    """A sum of gradients over pieces by live parameter name, on the CPU; a parameter without one has 0.

    Args:
        policy: the gradients are over its trainable parameters.
    """

    def __init__(self, policy: Policy) -> None:
        self._sum = vector_sum(policy.trainable)

    def add(self, gradient: Mapping[str, torch.Tensor]) -> None:
        """Add a piece's gradient, of any type and on any device."""
        self._sum.add(gradient)

    def finite(self) -> dict[str, torch.Tensor]:
        """The sum.

        Raises:
            RunError: the gradient of a parameter, which the message names, is not finite.
        """
        total = self._sum.total()
        for name, g in total.items():
            if not torch.isfinite(g).all():
                raise RunError(f"the gradient of {name} is not finite; check the weights and the rewards")
        return total
