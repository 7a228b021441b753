"""g = grad L on the update batch, over the trainable parameters, summed in float64."""

from __future__ import annotations

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy import Policy
from pytest_entropy.probe.chunks import scoring_chunks, work_through
from pytest_entropy.rollouts import Rollouts


def policy_gradient(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, *, chunk_tokens: int
) -> dict[str, torch.Tensor]:
    """Gradient of L = -sum_{p,g} w_pg S_pg by live parameter name, float64, on the CPU.

    ``weights`` is ``[B_U, G]``.  Pieces are summed in order in float64, so their size changes rounding only.

    Raises:
        RunError: a gradient that is not finite; names the parameter.
    """
    names = list(policy.trainable)
    parameters = [policy.trainable[name] for name in names]

    def work(slots: list[int]) -> list[torch.Tensor | None]:
        part = rollouts.select(slots)
        with torch.enable_grad():
            scores = policy.score(part)
            own = weights[slots].to(policy.device)
            loss = -(own * scores.log_probs.double().sum(-1)).sum()
            grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [None if g is None else g.double().cpu() for g in grads]

    total = {n: torch.zeros(p.shape, dtype=torch.float64) for n, p in zip(names, parameters, strict=True)}
    for _, grads in work_through(scoring_chunks(rollouts, chunk_tokens), work):
        for name, g in zip(names, grads, strict=True):
            if g is not None:
                total[name] += g
    for name, g in total.items():
        if not torch.isfinite(g).all():
            raise RunError(f"the update gradient of {name} is not finite; check the weights and the rewards")
    return total


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Euclidean norm over all entries of all tensors, in float64."""
    return sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5
