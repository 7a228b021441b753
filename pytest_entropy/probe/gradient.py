"""Gradients as vectors over the trainable parameters, summed in float64: of the loss on U, of the entropy on E."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy import Policy, Scores
from pytest_entropy.probe.chunks import scoring_chunks, work_through
from pytest_entropy.probe.estimators import weights_for
from pytest_entropy.rollouts import Rollouts


def policy_gradient(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """Gradient of L = -sum_{p,g} w_pg S_pg by live parameter name, float64, on the CPU.

    ``weights`` is ``[B_U, G]``.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """

    def loss(slots: list[int], scores: Scores, mask: torch.Tensor) -> torch.Tensor:
        own = weights[slots].to(policy.device)
        return -(own * scores.log_probs.double().sum(-1)).sum()

    return summed_gradient(policy, rollouts, loss, chunk_tokens=chunk_tokens)


def entropy_gradient(
    policy: Policy, rollouts: Rollouts, estimator: str, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """(1/B_E) sum_n X_n as a vector: the estimate of grad H by live parameter name, float64, on the CPU.

    Not needed for delta_h1, which takes the scalars <X_n, u> alone; for looking at, and as a check.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    mean = torch.full((len(rollouts),), 1 / len(rollouts), dtype=torch.float64)
    return combined_gradient(policy, rollouts, {estimator: mean}, chunk_tokens=chunk_tokens)


def combined_gradient(
    policy: Policy, rollouts: Rollouts, coefficients: Mapping[str, torch.Tensor], *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """sum_e sum_n c_en X_n^e over estimators e and prompts n, by live parameter name, float64, on the CPU.

    ``coefficients``: estimator name -> ``[P]``.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """

    def surrogate(slots: list[int], scores: Scores, mask: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=mask.device)
        for name, c in coefficients.items():
            weights = weights_for(name, scores, rollouts.select(slots)).scaled(c[slots].to(mask.device))
            total = total + weights.surrogate(scores.log_probs, scores.entropies, scores.expected_values)
        return total

    return summed_gradient(policy, rollouts, surrogate, chunk_tokens=chunk_tokens)


def summed_gradient(
    policy: Policy,
    rollouts: Rollouts,
    objective: Callable[[list[int], Scores, torch.Tensor], torch.Tensor],
    *,
    chunk_tokens: int,
) -> dict[str, torch.Tensor]:
    """Gradient of a sum over prompts.

    ``objective(slots, scores, mask)`` is the part of the sum that a piece of the batch contributes.  Pieces are
    summed in order in float64, so that their size changes rounding only.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    names = list(policy.trainable)
    parameters = [policy.trainable[name] for name in names]

    def work(slots: list[int]) -> list[torch.Tensor | None]:
        part = rollouts.select(slots)
        with torch.enable_grad():
            value = objective(slots, policy.score(part), part.mask.to(policy.device))
            grads = torch.autograd.grad(value, parameters, allow_unused=True)
        return [None if g is None else g.double().cpu() for g in grads]

    total = {n: torch.zeros(p.shape, dtype=torch.float64) for n, p in zip(names, parameters, strict=True)}
    for _, grads in work_through(scoring_chunks(rollouts, chunk_tokens), work):
        for name, g in zip(names, grads, strict=True):
            if g is not None:
                total[name] += g
    for name, g in total.items():
        if not torch.isfinite(g).all():
            raise RunError(f"the gradient of {name} is not finite; check the weights and the rewards")
    return total


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Euclidean norm over all entries of all tensors, in float64."""
    return sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5
