"""What to expect of the entropy-to-go after each token, learnt from the responses of the update batch U.

Two tables are made of U's responses as the sampler recorded them: the mean of Gamma_k by position, and what a token u
adds to it.  U and E share no response, so whatever the tables hold, the estimator that uses them keeps its mean
exactly, and given U the scalars s_n are independent and of one law, whatever B_E.  (Tables learnt within E, across
folds, would tie its prompts together and be the better the larger B_E: docs/variance-reduction.md.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.rollouts import ControlVariateTables, Rollouts

# A token's mean counts as if this many more occurrences had added nothing.
PRIOR = 4.0
# Prompts looked at together; whatever it is, sums change in rounding only.
PROMPTS_PER_PIECE = 256


@dataclass(frozen=True)
class ControlVariate:
    """The tables at the tokens of some prompts, float64 nats: ``position`` ``[L]``, ``own`` (q of the sampled token)
    ``[P, G, L]``, ``share`` ``[]``."""

    position: torch.Tensor
    own: torch.Tensor
    share: torch.Tensor

    @classmethod
    def of(cls, part: Rollouts, device: torch.device) -> ControlVariate:
        """Those of rollouts that carry action values.

        Raises:
            ValueError: they carry none.
        """
        values = part.control_variate
        if values is None:
            raise ValueError("the rollouts carry no action values; see learn")
        token = torch.cat([values.token, values.token.new_zeros(1)])
        # What follows a response's end has no meaning; its weight is zero.
        own = token[part.tokens.cpu().clamp(max=len(values.token))]
        return cls(values.position[: part.tokens.shape[2]].to(device), own.to(device), values.share.to(device))


def learn(batch: Rollouts, positions: int, *, group: int | None = None) -> ControlVariateTables:
    """The tables that the responses of a batch teach, for other draws: ``group`` responses to a prompt (the batch's
    own number if left out) of up to ``positions`` tokens."""
    position, token, share = _tables(batch)
    share = share_of_others(share, batch.group_size - 1, (group or batch.group_size) - 1)
    return ControlVariateTables(
        position=torch.from_numpy(np.pad(position, (0, positions - len(position)))),
        token=torch.from_numpy(token),
        share=torch.tensor(share, dtype=torch.float64),
    )


def share_of_others(share: float, known: int, asked: int) -> float:
    """The best share of the mean of ``asked`` other responses, from that of the mean of ``known`` ones.

    With r the correlation of two responses to one prompt it is m r / (1 + (m - 1) r) for m others (Spearman and Brown):
    the mean of fewer is noisier, and counts less.
    """
    if share == 0 or asked == known:
        return share
    r = share / (known - share * (known - 1))
    return asked * r / (1 + (asked - 1) * r)


def _pieces(rollouts: Rollouts) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Gamma_k, tokens and mask ``[p, G, L]`` of a few prompts at a time, so that memory does not grow with P."""
    for index in torch.arange(len(rollouts), device=rollouts.tokens.device).split(PROMPTS_PER_PIECE):
        mask = rollouts.mask_of(index).cpu().numpy()
        nats = rollouts.entropies[index].double().cpu().numpy() * mask
        gamma = np.flip(np.flip(nats, -1).cumsum(-1), -1) - nats
        yield gamma, np.where(mask, rollouts.tokens[index].cpu().numpy(), 0), mask


def _tables(rollouts: Rollouts) -> tuple[np.ndarray, np.ndarray, float]:
    """(mean by position ``[L]``, addition by token ``[T]``, share)."""
    total, count, vocabulary = np.zeros(rollouts.tokens.shape[2]), np.zeros(rollouts.tokens.shape[2]), 0
    for gamma, tokens, mask in _pieces(rollouts):
        total += (gamma * mask).sum((0, 1))
        count += mask.sum((0, 1))
        vocabulary = max(vocabulary, int(tokens.max()) + 1)
    position = total / np.maximum(count, 1)
    occurrences, added = np.zeros(vocabulary), np.zeros(vocabulary)
    for gamma, tokens, mask in _pieces(rollouts):
        occurrences += np.bincount(tokens[mask], minlength=vocabulary)
        added += np.bincount(tokens[mask], weights=(gamma - position)[mask], minlength=vocabulary)
    token = added / (occurrences + PRIOR)
    shared = size = 0.0
    for gamma, tokens, mask in _pieces(rollouts):
        rest = (gamma - position - token[tokens]) * mask
        others = np.maximum(mask.sum(1, keepdims=True) - mask, 1)
        group = (rest.sum(1, keepdims=True) - rest) * mask / others
        shared += float((rest * group).sum())
        size += float((group**2).sum())
    # Least squares of a response's rest on that of its group.
    share = shared / size if size > 0 else 0.0
    return position, token, min(max(share, 0.0), 1.0)
