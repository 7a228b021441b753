"""Control variate tables: the expected entropy-to-go after each token, learnt from the responses of the update batch U.

Two tables are computed from U's responses as the sampler recorded them: the mean of Gamma_k by position, and what a
token u adds to it.  U and E share no response, so the estimator that uses the tables keeps its mean exactly, whatever
they hold, and given U the scalars s_n are independent and identically distributed, whatever B_E.  (Tables learnt within
E, across folds, would make its prompts dependent, and be better the larger B_E: docs/variance-reduction.md.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.rollouts import ControlVariateTables, Rollouts

# Shrinkage: a token's mean is taken as if this many more occurrences of it had added 0.
PRIOR = 4.0
# Prompts processed at a time, to bound memory; it changes the rounding of sums only.
PROMPTS_PER_PIECE = 256


@dataclass(frozen=True)
class ControlVariate:
    """The tables looked up at the tokens of P prompts' responses, float64.

    Attributes:
        position: mean of Gamma_k by position, ``[L]``, nats.
        own: q(t_k) of the sampled tokens, ``[P, G, L]``, nats.
        share: ``[]``, how much of the rest a response has in common with its group, in [0, 1].
    """

    position: torch.Tensor
    own: torch.Tensor
    share: torch.Tensor

    @classmethod
    def of(cls, part: Rollouts, device: torch.device) -> ControlVariate:
        """Look up the tables that rollouts carry at the rollouts' own tokens.

        Args:
            part: P prompts x G responses with tables.
            device: where the result is put.

        Raises:
            ValueError: the rollouts carry no tables.
        """
        values = part.control_variate
        if values is None:
            raise ValueError("the rollouts carry no control variate tables; learn() makes them from another batch")
        token = torch.cat([values.token, values.token.new_zeros(1)])
        # Tokens after a response's end are looked up too; their weight is zero.
        own = token[part.tokens.cpu().clamp(max=len(values.token))]
        return cls(values.position[: part.tokens.shape[2]].to(device), own.to(device), values.share.to(device))


def learn(batch: Rollouts, positions: int, *, group: int | None = None) -> ControlVariateTables:
    """Learn the control variate tables from a batch's responses, for another batch (docs/variance-reduction.md).

    Args:
        batch: the responses to learn from, P prompts x G.
        positions: largest number of tokens of a response in the other batch.
        group: number of responses to a prompt in the other batch; G if left out.
    """
    position, token, share = _tables(batch)
    share = share_of_others(share, batch.group_size - 1, (group or batch.group_size) - 1)
    return ControlVariateTables(
        position=torch.from_numpy(np.pad(position, (0, positions - len(position)))),
        token=torch.from_numpy(token),
        share=torch.tensor(share, dtype=torch.float64),
    )


def share_of_others(share: float, known: int, asked: int) -> float:
    """Least-squares share of the mean of m other responses, for another m (Spearman 1910, Brown 1910).

    With r the correlation of two responses to one prompt the share is m r / (1 + (m - 1) r): the mean of fewer
    responses is noisier and gets a smaller share.

    Args:
        share: the share of the mean of ``known`` other responses, in [0, 1].
        known: number of other responses that ``share`` was estimated with.
        asked: number of other responses that the share is wanted for.
    """
    if share == 0 or asked == known:
        return share
    r = share / (known - share * (known - 1))
    return asked * r / (1 + (asked - 1) * r)


def _pieces(rollouts: Rollouts) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield Gamma_k, tokens and mask, each ``[p, G, L]``, of a few prompts at a time: memory does not grow with P."""
    for index in torch.arange(len(rollouts), device=rollouts.tokens.device).split(PROMPTS_PER_PIECE):
        mask = rollouts.mask_of(index).cpu().numpy()
        nats = rollouts.entropies[index].double().cpu().numpy() * mask
        gamma = np.flip(np.flip(nats, -1).cumsum(-1), -1) - nats
        yield gamma, np.where(mask, rollouts.tokens[index].cpu().numpy(), 0), mask


def _tables(rollouts: Rollouts) -> tuple[np.ndarray, np.ndarray, float]:
    """(mean of Gamma_k by position ``[L]``, what each token adds to it ``[T]``, share); nats, nats, in [0, 1]."""
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
    # The least-squares slope of a response's rest on the mean rest of the others of its group.
    share = shared / size if size > 0 else 0.0
    return position, token, min(max(share, 0.0), 1.0)
