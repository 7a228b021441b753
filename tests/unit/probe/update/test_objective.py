"""The table of token weights: by plain loops on ragged lengths, and as gradients of the published losses."""

from __future__ import annotations

import re
import statistics

import numpy as np
import pytest
import torch

from pytest_entropy.probe.update.objective import advantages, normaliser_shares, token_weights
from pytest_entropy.settings.model import ProbeSection
from pytest_entropy.settings.objectives import OBJECTIVES, SCALINGS, normalised_over_batch

LIMIT = 9
REWARDS = [[0.0, 1.0, 0.5, 1.0], [1.0, 1.0, 1.0, 1.0], [0.2, 0.9, 0.4, 0.0]]
LENGTHS = [[1, 9, 4, 7], [3, 3, 2, 8], [5, 1, 1, 6]]


def by_loops(objective: str, scaling: str, epsilon: float) -> list[list[float]]:
    """w by what each convention's paper or source says, one response at a time."""
    flat = [r for row in REWARDS for r in row]
    table = []
    for rewards, lengths in zip(REWARDS, LENGTHS, strict=True):
        row = []
        for i, r in enumerate(rewards):
            if scaling == "leave_one_out":
                a = r - statistics.fmean(rewards[:i] + rewards[i + 1 :])
            else:
                a = r - statistics.fmean(rewards)
            if scaling == "group":
                a /= statistics.stdev(rewards) + epsilon
            if scaling == "batch":
                a /= statistics.stdev(flat) + epsilon
            if objective in ("grpo", "gspo", "sapo", "seq-mean-token-mean"):
                a /= len(flat) * lengths[i]
            elif objective in ("dapo", "cispo", "bnpo", "vespo", "token-mean"):
                a /= sum(map(sum, LENGTHS))
            elif objective in ("dr_grpo", "seq-mean-token-sum-norm"):
                a /= len(flat) * LIMIT
            elif objective in ("rloo", "luspo", "seq-mean-token-sum"):
                a /= len(flat)
            elif objective == "predecessor":
                a /= len(flat) * max(lengths)
            else:
                raise AssertionError(f"no definition of {objective}")
            row.append(a)
        table.append(row)
    return table


@pytest.mark.parametrize("scaling", ["none", "group", "batch", "leave_one_out"])
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_weights_by_plain_loops(objective: str, scaling: str) -> None:
    got = token_weights(
        torch.tensor(REWARDS), torch.tensor(LENGTHS), objective, max_new_tokens=LIMIT, scaling=scaling, epsilon=1e-6
    )
    np.testing.assert_allclose(got.numpy(), by_loops(objective, scaling, 1e-6), rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------- the losses themselves, as TRL's trainers write them


def trl_loss(loss_type: str, log_probs: torch.Tensor, mask: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """Loss of the first on-policy step, from per-token log-probabilities ``[B, T]``; TRL's defaults."""
    log_ratio = log_probs - log_probs.detach()
    if loss_type in ("gspo", "luspo"):
        log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1)).unsqueeze(-1)
    if loss_type == "rloo":
        log_ratio = (log_ratio * mask).sum(-1, keepdim=True)
    ratio = log_ratio.exp()
    advantage = advantage.unsqueeze(1)
    if loss_type == "cispo":
        loss = -ratio.clamp(max=5.0).detach() * advantage * log_probs
    elif loss_type == "vespo":
        loss = -advantage * log_probs
    elif loss_type == "sapo":
        warmth = torch.where(advantage > 0, 1.0, 1.05)
        loss = -torch.sigmoid(warmth * (ratio - 1)) * 4 / warmth * advantage
    else:
        loss = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    if loss_type == "rloo":
        return loss.mean()
    loss = loss * mask
    if loss_type in ("grpo", "sapo", "gspo"):
        return (loss.sum(-1) / mask.sum(-1)).mean()
    if loss_type in ("bnpo", "dapo", "cispo", "vespo"):
        return loss.sum() / mask.sum()
    if loss_type == "dr_grpo":
        return loss.sum() / (len(loss) * LIMIT)
    return loss.sum(-1).mean()


@pytest.mark.parametrize(
    "loss_type", ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "gspo", "sapo", "luspo", "vespo", "rloo"]
)
def test_weights_are_the_gradient_of_the_loss(loss_type: str) -> None:
    lengths = torch.tensor(LENGTHS)
    mask = (torch.arange(LIMIT) < lengths.reshape(-1, 1)).double()
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(mask.shape, generator=generator, dtype=torch.float64, requires_grad=True)
    own_scaling = OBJECTIVES[loss_type][0]
    advantage = advantages(torch.tensor(REWARDS), own_scaling).reshape(-1)
    (gradient,) = torch.autograd.grad(trl_loss(loss_type, log_probs, mask, advantage), log_probs)
    weights = token_weights(torch.tensor(REWARDS), lengths, loss_type, max_new_tokens=LIMIT)
    np.testing.assert_allclose(gradient, -(weights.reshape(-1, 1) * mask), rtol=1e-9, atol=1e-12)


def test_every_name_trl_knows_is_accepted() -> None:
    grpo_config = pytest.importorskip("trl.trainer.grpo_config", reason="compares with the installed TRL")
    section = grpo_config.GRPOConfig.__doc__.partition("loss_type (")[2].partition("mask_truncated_completions (")[0]
    names = re.findall(r'- `"(\w+)"`', section)
    assert "dapo" in names
    assert set(names) <= set(OBJECTIVES)
    for value, meant in ((True, "group"), (False, "none"), ("group", "group"), ("batch", "batch"), ("none", "none")):
        assert ProbeSection.model_validate({"scale_rewards": value}).scale_rewards == meant


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_prompts_meet_where_a_normaliser_says_so(objective: str) -> None:
    rewards, lengths = torch.tensor([[0.0, 1.0], [1.0, 3.0]]), torch.tensor([[1, 2], [3, 5]])
    for scaling in (None, *SCALINGS):
        shares = normaliser_shares(rewards, lengths, objective, scaling=scaling)
        assert bool(shares.any()) == normalised_over_batch(objective, scaling)


def test_prompts_that_do_not_meet_share_nothing() -> None:
    rewards, lengths = torch.tensor(REWARDS), torch.tensor(LENGTHS)
    for objective, (_, divisor) in OBJECTIVES.items():
        shares = normaliser_shares(rewards, lengths, objective)
        assert bool((shares != 0).any()) == (divisor == "all_tokens")


def test_bad_input_is_named() -> None:
    rewards, lengths = torch.tensor(REWARDS), torch.tensor(LENGTHS)
    with pytest.raises(ValueError, match="unknown objective 'ppo'"):
        token_weights(rewards, lengths, "ppo", max_new_tokens=LIMIT)
    with pytest.raises(ValueError, match="unknown advantage scaling 'std'"):
        advantages(rewards, "std")
    with pytest.raises(ValueError, match="G = 1 is too few"):
        advantages(rewards[:, :1], "none")
