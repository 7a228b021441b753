"""Products of two prompts' parts by their definitions, those behind variances: plain backwards, prompt by prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    policy: Policy,
    rollouts: Rollouts,
    weights: torch.Tensor,
    shares: np.ndarray,
    products: np.ndarray,
    by: Sequence[Products],
) -> list[float]:
    """Relative discrepancies of one prompt's <mean x, y_p>, and of <mean x, J g> from <J^T mean x, g>, for K mean x.

    Args:
        policy: the gradients are over its trainable parameters.
        rollouts: U, B_U prompts x G responses; the prompt with the fewest tokens is computed again.
        weights: token weights w ``[B_U, G]`` of the loss.
        shares: ``[B_U]``, a prompt's influence on a normaliser of the whole batch.
        products: <mean x, y_p> ``[B_U, K]``.
        by: the vectors of each column.
    """
    p = int(rollouts.lengths.sum(1).argmin())
    gradient = gradient_of_prompt(policy, rollouts, weights, p)
    gaps = []
    for product, one in zip(products[p], by, strict=True):
        whole = inner(one.gradient, one.covector)
        expected = inner(gradient, one.covector) - float(shares[p]) * whole
        # With equal rewards g_p is rounding alone, but its share of the normaliser need not be.
        size = (norm(gradient) + abs(float(shares[p])) * norm(one.gradient)) * norm(one.covector) or 1.0
        pushed = inner(one.mean_x, one.pushforward(one.gradient))
        gaps += [abs(float(product) - expected) / size, abs(pushed - whole) / ((abs(pushed) + abs(whole)) or 1.0)]
    return gaps


def half_discrepancy(mean_x: Tensors, direction: Tensors, along: float, scale: float) -> float:
    """Relative discrepancy of <mean x, u>, the vectors' inner product, from the mean of the prompts' scalars.

    Args:
        mean_x: the entropy gradient of some prompts, by live parameter name.
        direction: u.
        along: the mean of these prompts' <x_n, u>, computed without vectors.
        scale: the mean size of such a scalar.
    """
    terms = [inner({name: mean_x[name]}, direction) for name in direction]
    return abs(sum(terms) - along) / ((sum(map(abs, terms)) + scale) or 1.0)


def gradient_of_prompt(
    policy: Policy, rollouts: Rollouts, weights: torch.Tensor, prompt_index: int
) -> dict[str, torch.Tensor]:
    """g_p = -B sum_g w_pg grad S_pg, a prompt's part of the gradient of the loss, by one plain backward.

    Args:
        policy: the gradient is over its trainable parameters.
        rollouts: B prompts x G responses.
        weights: token weights w ``[B, G]`` of the loss.
        prompt_index: p.
    """
    plain, parameters = policy.computing(share_prompt=False), list(policy.trainable.values())
    with torch.enable_grad():
        forced = plain.teacher_force(rollouts.select([prompt_index]))
        own = weights[prompt_index].to(forced.log_probs.device)
        loss = -len(weights) * (own * forced.log_probs.double().sum(-1)[0]).sum()
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: g for name, g in zip(policy.trainable, grads, strict=True) if g is not None}


def row_discrepancy(
    policy: Policy,
    rollouts: Rollouts,
    row: float,
    prompt_index: int,
    y: Tensors,
    mean_y: Tensors,
    mean_x: Tensors,
    estimator: str,
) -> float:
    """Relative discrepancy of a prompt's row mean r_n from its definition (docs/mathematics.md §5).

    r_n = [(B <x_n, mean y> - <x_n, y_n>) + (B <mean x, y_n> - <x_n, y_n>)] / 2 (B - 1); the discrepancy is relative to
    the same sum of absolute contributions.

    Args:
        policy: its bare model computes <x_n, mean y> and <x_n, y_n>.
        rollouts: B prompts x G responses.
        row: r_n.
        prompt_index: n.
        y: y_n by live parameter name, from :func:`gradient_of_prompt`.
        mean_y, mean_x: the direction and the entropy gradient, by live parameter name.
        estimator: name of the estimator that defines x_n.
    """
    B = len(rollouts)
    by_x, own = (by_definition(policy, rollouts, prompt_index, dict(v), estimator) for v in (mean_y, y))
    by_y = [inner({name: mean_x[name]}, y) for name in y]
    assert by_x.s is not None
    assert by_x.size is not None
    assert own.s is not None
    assert own.size is not None
    expected = ((B * by_x.s - own.s) + (B * sum(by_y) - own.s)) / (2 * (B - 1))
    size = ((B * by_x.size + own.size) + (B * sum(map(abs, by_y)) + own.size)) / (2 * (B - 1))
    return abs(row - expected) / (size or 1.0)
