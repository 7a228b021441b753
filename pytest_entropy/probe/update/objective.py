"""The policy-gradient objective as one table of token weights.

On-policy and at the first minibatch all ratio-clipped losses have the gradient -sum_it w_it grad log pi(y_it);
the published conventions differ in w alone (Dr. GRPO arXiv 2503.20783, GRPO 2402.03300, RLOO 2402.14740,
DAPO 2503.14476).  Names as TRL and verl spell them are accepted.
"""

from __future__ import annotations

import torch

from pytest_entropy.settings.objectives import OBJECTIVES, SCALINGS


def advantages(rewards: torch.Tensor, scaling: str, epsilon: float = 1e-4) -> torch.Tensor:
    """Advantages ``[P, G]`` from rewards ``[P, G]``, float64 (P prompts, G responses).

    ``none``: R - group mean.  ``group``: that over (unbiased group std + epsilon).  ``batch``: over the std of
    all rewards instead.  ``leave_one_out``: R - mean of the others of the group.

    Raises:
        ValueError: unknown scaling, or a scaling that needs G >= 2.
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
    """kappa ``[P]``: how prompt p moves the gradient through what is normalised over the whole batch.

    The gradient is mean_p N_p / (normaliser), so that prompt p's influence on it is N_p / (normaliser) - kappa_p g
    up to a constant: kappa_p is the relative influence of p on the number of tokens (``all_tokens``) and on the
    reward's spread (scaling ``batch``), 0 for objectives whose prompts do not meet.
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
    """w ``[P, G]``: the weight of every token of a response; the loss is -sum w_pg S_pg.

    ``scaling`` overrides the convention's own (TRL's ``scale_rewards``).  ``bnpo`` normalises by the tokens of
    a local micro-batch; here the batch is one micro-batch.

    Raises:
        ValueError: unknown objective or scaling, G < 2.
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
