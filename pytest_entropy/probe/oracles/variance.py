"""The scalars behind the variance over update batches by their definitions: plain backwards, prompt by prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.parameter_vectors import Tensors, inner, norm


@dataclass(frozen=True)
class Products:
    """The vectors behind <mean x, y_p>, by live parameter name.

    Attributes:
        mean_x: the entropy gradient.
        covector: J^T mean x.
        gradient: of the loss on U.
        pushforward: y = J g.
    """

    mean_x: Tensors
    covector: Tensors
    gradient: Tensors
    pushforward: Callable[[Tensors], dict[str, torch.Tensor]]


def products_discrepancies(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, shares: np.ndarray, products: np.ndarray, by: Products
) -> list[float]:
    """Relative discrepancies of one prompt's <mean x, y_p>, and of <mean x, J g> from <J^T mean x, g>.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: U, B_U prompts x G responses; the prompt with the fewest tokens is computed again.
        weights: token weights w ``[B_U, G]`` of the loss.
        shares: ``[B_U]``, a prompt's influence on a normaliser of the whole batch.
        products: <mean x, y_p> ``[B_U]``.
        by: the vectors.
    """
    p = int(rollouts.lengths.sum(1).argmin())
    plain, parameters = replace(policy, share_prompt=False), list(policy.trainable.values())
    with torch.enable_grad():
        forced = plain.teacher_force(rollouts.select([p]))
        own = weights[p].to(forced.log_probs.device)
        loss = -len(weights) * (own * forced.log_probs.double().sum(-1)[0]).sum()
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    gradient = {name: g for name, g in zip(policy.trainable, grads, strict=True) if g is not None}
    whole = inner(by.gradient, by.covector)
    expected = inner(gradient, by.covector) - float(shares[p]) * whole
    size = norm(gradient) * norm(by.covector) or 1.0
    pushed = inner(by.mean_x, by.pushforward(by.gradient))
    return [abs(float(products[p]) - expected) / size, abs(pushed - whole) / ((abs(pushed) + abs(whole)) or 1.0)]


def pair_discrepancy(policy: Policy, rollouts: Rollouts, y: Tensors, product: float, estimator: str) -> float:
    """Relative discrepancy of <x_n, y_p> of the first prompt n from its definition.

    Args:
        policy: its bare model computes the definition.
        rollouts: prompts x G responses, the first of which is computed again.
        y: y_p by live parameter name.
        product: <x_n, y_p>.
        estimator: name of the estimator that defines x_n.
    """
    oracle = by_definition(policy, rollouts, 0, dict(y), estimator)
    assert oracle.s is not None
    return abs(oracle.s - product) / (oracle.size or 1.0)
