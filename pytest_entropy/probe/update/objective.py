"""The policy-gradient objective as one table of token weights.

On-policy, at the first minibatch, all ratio-clipped losses have the gradient -sum_it w_it grad log pi(y_it);
the published conventions differ in w only (Dr. GRPO arXiv 2503.20783, GRPO 2402.03300, RLOO 2402.14740,
DAPO 2503.14476).  Names are accepted as TRL and as verl spell them
(docs/mathematics.md §2).
"""

from __future__ import annotations

import torch

from pytest_entropy.settings.objectives import OBJECTIVES, SCALINGS


def advantages(rewards: torch.Tensor, scaling: str, epsilon: float = 1e-4) -> torch.Tensor:
    """Advantages ``[P, G]`` float64, in the rewards' unit for ``none`` and ``leave_one_out``, else dimensionless.

    Args:
        rewards: ``[P, G]``, R of G responses to each of P prompts.
        scaling: ``none``: R - group mean (Dr. GRPO).  ``group``: that divided by (group std + epsilon) (GRPO).
            ``batch``: divided by (std of all rewards + epsilon) instead.  ``leave_one_out``: R - mean of the group's
            other responses (RLOO).  Standard deviations are taken with ddof = 1.
        epsilon: added to the standard deviation.

    Raises:
        ValueError: the scaling is not known, or G < 2.
    """
    rewards = rewards.double()
    group = rewards.shape[1]
    if scaling not in SCALINGS:
        raise ValueError(f"unknown advantage scaling {scaling!r}; known: {', '.join(SCALINGS)}")
    if group < 2:
        raise ValueError(f"advantages compare responses to one prompt: G = {group} is too few, take G >= 2")
    centred = rewards - rewards.mean(1, keepdim=True)
    if scaling == "leave_one_out":
        return centred * group / (group - 1)
    if scaling == "group":
        return centred / (rewards.std(1, keepdim=True) + epsilon)
    if scaling == "batch":
        return centred / (rewards.std() + epsilon)
    return centred


def normaliser_shares(
    rewards: torch.Tensor, lengths: torch.Tensor, objective: str, *, scaling: str | None = None, epsilon: float = 1e-4
) -> torch.Tensor:
    """kappa ``[P]`` float64: prompt p's relative influence on a normaliser of the whole batch (docs/mathematics.md §4).

    The gradient is g = mean_p N_p / normaliser, so that prompt p's influence on g is N_p / normaliser - kappa_p g up to
    a constant.  Normalisers are the number of tokens (objectives divided by ``all_tokens``) and the standard deviation
    of all rewards (scaling ``batch``).  kappa is 0 for objectives without either.

    Args:
        rewards: ``[P, G]``.
        lengths: ``[P, G]``, tokens of each response.
        objective: a name of :data:`OBJECTIVES`.
        scaling: overrides the objective's own advantage scaling.
        epsilon: added to the rewards' standard deviation.
    """
    own_scaling, divisor = OBJECTIVES[objective]
    kappa = torch.zeros(len(rewards), dtype=torch.float64)
    if divisor == "all_tokens":
        tokens = lengths.double().sum(1)
        kappa = kappa + tokens / tokens.mean()
    if (scaling or own_scaling) == "batch":
        rewards = rewards.double()
        spread = rewards.std()
        if spread > 0:
            unbiased = rewards.numel() / (rewards.numel() - 1)
            influence = unbiased * (rewards - rewards.mean()).square().mean(1)
            kappa = kappa + influence / (2 * spread * (spread + epsilon))
    return kappa


def token_weights(
    rewards: torch.Tensor,
    lengths: torch.Tensor,
    objective: str,
    *,
    max_new_tokens: int,
    scaling: str | None = None,
    epsilon: float = 1e-4,
) -> torch.Tensor:
    """w ``[P, G]`` float64, the weight of a response's every token in the loss -sum w_pg S_pg (docs/mathematics.md §2).

    ``bnpo`` divides by the tokens of a local micro-batch; here the whole batch is one micro-batch.

    Args:
        rewards: ``[P, G]``.
        lengths: ``[P, G]``, tokens of each response.
        objective: a name of :data:`OBJECTIVES`.
        max_new_tokens: the divisor of objectives normalised by the length limit (``dr_grpo``).
        scaling: overrides the objective's own advantage scaling (TRL's ``scale_rewards``).
        epsilon: added to the rewards' standard deviation.

    Raises:
        ValueError: the objective or the scaling is not known, or G < 2.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")
    own_scaling, divisor = OBJECTIVES[objective]
    a = advantages(rewards, scaling or own_scaling, epsilon)
    sequences = a.numel()
    lengths = lengths.double()
    if divisor == "one":
        return a / sequences
    if divisor == "max_length":
        return a / (sequences * max_new_tokens)
    if divisor == "own_length":
        return a / (sequences * lengths)
    if divisor == "longest_of_group":
        return a / (sequences * lengths.amax(1, keepdim=True))
    return a / lengths.sum()
