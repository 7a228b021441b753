"""Gradients as vectors over the trainable parameters, summed in float64: of the loss on U, of the entropy on E."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.dora import slope_gradient
from pytest_entropy.policy.policy import Policy, Scores
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.estimators import weights_for
from pytest_entropy.probe.pieces import scoring_chunks, work_through


def policy_gradient(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """Gradient of L = -sum_{p,g} w_pg S_pg by live parameter name, float64, on the CPU: what backward gives a trainer.

    ``weights`` is ``[B_U, G]``.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    return summed_gradient(policy, rollouts, _loss(weights), chunk_tokens=chunk_tokens)


def entropy_gradient(
    policy: Policy, rollouts: Rollouts, estimator: str, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """(1/B_E) sum_n X_n as a vector: the estimate of grad H by live parameter name, float64, on the CPU.

    Not needed for delta_h1, which takes the scalars <X_n, u> alone; for looking at, and as a check.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    coefficients = {estimator: _mean(rollouts)}
    return combined_gradient(policy, rollouts, coefficients, chunk_tokens=chunk_tokens)


def entropy_and_policy_gradient(
    policy: Policy, rollouts: Rollouts, estimator: str, weights: torch.Tensor, *, chunk_tokens: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """:func:`entropy_gradient` and :func:`policy_gradient` of the same rollouts, from one scoring pass."""
    objectives = [_surrogate(rollouts, {estimator: _mean(rollouts)}), _loss(weights)]
    entropy, loss = summed_gradients(policy, rollouts, objectives, chunk_tokens=chunk_tokens)
    return slope_gradient(policy.model, entropy), loss


def combined_gradient(
    policy: Policy, rollouts: Rollouts, coefficients: Mapping[str, torch.Tensor], *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """sum_e sum_n c_en X_n^e over estimators e and prompts n, by live parameter name, float64, on the CPU.

    ``coefficients``: estimator name -> ``[P]``.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    total = summed_gradient(policy, rollouts, _surrogate(rollouts, coefficients), chunk_tokens=chunk_tokens)
    return slope_gradient(policy.model, total)


# A piece of the batch, its slots and its scores -> the part of a sum over prompts that it contributes.
Objective = Callable[[list[int], Scores], torch.Tensor]


def _mean(rollouts: Rollouts) -> torch.Tensor:
    return torch.full((len(rollouts),), 1 / len(rollouts), dtype=torch.float64)


def _loss(weights: torch.Tensor) -> Objective:
    def loss(slots: list[int], scores: Scores) -> torch.Tensor:
        own = weights[slots].to(scores.log_probs.device)
        return -(own * scores.log_probs.double().sum(-1)).sum()

    return loss


def _surrogate(rollouts: Rollouts, coefficients: Mapping[str, torch.Tensor]) -> Objective:
    def surrogate(slots: list[int], scores: Scores) -> torch.Tensor:
        device = scores.log_probs.device
        total = torch.zeros((), dtype=torch.float64, device=device)
        for name, c in coefficients.items():
            weights = weights_for(name, scores, rollouts.select(slots)).scaled(c[slots].to(device))
            total = total + weights.surrogate(scores.log_probs, scores.entropies, scores.expected_values)
        return total

    return surrogate


def summed_gradient(
    policy: Policy, rollouts: Rollouts, objective: Objective, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """:func:`summed_gradients` of one objective."""
    return summed_gradients(policy, rollouts, [objective], chunk_tokens=chunk_tokens)[0]


def summed_gradients(
    policy: Policy, rollouts: Rollouts, objectives: Sequence[Objective], *, chunk_tokens: int
) -> list[dict[str, torch.Tensor]]:
    """Gradients of sums over prompts, one for each objective; each costs one more backward over the same graph.

    Pieces are summed in order in float64, so that their size changes rounding only; what is kept is one vector
    for each objective, whatever the number of prompts.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    names = list(policy.trainable)
    parameters = [policy.trainable[name] for name in names]
    totals = [{n: torch.zeros(policy.trainable[n].shape, dtype=torch.float64) for n in names} for _ in objectives]

    def work(slots: list[int]) -> None:
        last = len(objectives) - 1
        with torch.enable_grad():
            scores = policy.score(rollouts.select(slots))
            found = [
                torch.autograd.grad(objective(slots, scores), parameters, allow_unused=True, retain_graph=i < last)
                for i, objective in enumerate(objectives)
            ]
        # Nothing is added before all of a piece is there: a piece may run out of memory and be halved.
        for total, grads in zip(totals, found, strict=True):
            for name, g in zip(names, grads, strict=True):
                if g is not None:
                    total[name] += g.double().cpu()

    work_through(scoring_chunks(rollouts, chunk_tokens), work)
    for name, g in ((name, g) for total in totals for name, g in total.items()):
        if not torch.isfinite(g).all():
            raise RunError(f"the gradient of {name} is not finite; check the weights and the rewards")
    return totals


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Euclidean norm over all entries of all tensors, in float64."""
    return sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5
