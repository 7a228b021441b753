"""What to expect of the entropy-to-go after each token, learnt from other prompts of the batch.

The prompts are cut into folds.  For the prompts of a fold, two tables are made of the other folds' responses as
the sampler recorded them: the mean of Gamma_k by position, and what a token u adds to it.  A prompt's tables are
independent of its own responses, so whatever they hold, the estimator that uses them keeps its mean exactly.

Scalars s_n of the same fold stay uncorrelated given the tables; those of different folds share data, which
moves the variance of their mean by a relative O(1/P) only (docs/variance-reduction.md, with the simulation).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.rollouts import ActionValues, Rollouts

FOLDS = 4
# A token's mean counts as if this many more occurrences had added nothing.
PRIOR = 4.0
# Prompts looked at together; whatever it is, sums change in rounding only.
AT_ONCE = 256


@dataclass(frozen=True)
class Learnt:
    """The tables at the tokens of some prompts, float64 nats: ``position`` ``[P, 1, L]``, ``own`` (q of the sampled
    token) ``[P, G, L]``, ``share`` ``[P, 1, 1]``."""

    position: torch.Tensor
    own: torch.Tensor
    share: torch.Tensor

    @classmethod
    def of(cls, part: Rollouts, device: torch.device) -> Learnt:
        """Those of rollouts that carry action values.

        Raises:
            ValueError: they carry none.
        """
        values = part.action_values
        if values is None:
            raise ValueError("the rollouts carry no action values; see with_action_values")
        fold, length = values.fold, part.tokens.shape[2]
        tokens = part.tokens.cpu().clamp(max=values.token.shape[1] - 1)
        # What follows a response's end has no meaning; its weight is zero.
        own = values.token[fold[:, None, None], tokens]
        return cls(
            position=values.position[fold, None, :length].to(device),
            own=own.to(device),
            share=values.share[fold, None, None].to(device),
        )


def with_action_values(rollouts: Rollouts, *, folds: int = FOLDS) -> Rollouts:
    """The same rollouts, with tables learnt across ``folds`` folds of prompts.

    Prompt n is in fold n mod folds: prompts come in random order.  With a single prompt there is nothing to
    learn from, and the rollouts come back as they are.
    """
    folds = min(folds, len(rollouts))
    if folds < 2:
        return rollouts
    tables = [_tables(rollouts, [n for n in range(len(rollouts)) if n % folds != f]) for f in range(folds)]
    vocabulary = max(len(token) for _, token, _ in tables)
    learnt = ActionValues(
        fold=torch.arange(len(rollouts)) % folds,
        position=torch.from_numpy(np.stack([position for position, _, _ in tables])),
        token=torch.from_numpy(np.stack([np.pad(token, (0, vocabulary - len(token))) for _, token, _ in tables])),
        share=torch.tensor([share for _, _, share in tables], dtype=torch.float64),
    )
    return replace(rollouts, action_values=learnt)


def _pieces(rollouts: Rollouts, slots: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Gamma_k, tokens and mask ``[p, G, L]`` of some prompts, a few at a time, so that memory does not grow with P."""
    for first in range(0, len(slots), AT_ONCE):
        index = torch.tensor(slots[first : first + AT_ONCE], device=rollouts.tokens.device)
        mask = rollouts.mask_of(index).cpu().numpy()
        nats = rollouts.entropies[index].double().cpu().numpy() * mask
        gamma = np.flip(np.flip(nats, -1).cumsum(-1), -1) - nats
        yield gamma, np.where(mask, rollouts.tokens[index].cpu().numpy(), 0), mask


def _tables(rollouts: Rollouts, slots: list[int]) -> tuple[np.ndarray, np.ndarray, float]:
    """(mean by position ``[L]``, addition by token ``[T]``, share), learnt from the prompts in ``slots``."""
    total, count, vocabulary = np.zeros(rollouts.tokens.shape[2]), np.zeros(rollouts.tokens.shape[2]), 0
    for gamma, tokens, mask in _pieces(rollouts, slots):
        total += (gamma * mask).sum((0, 1))
        count += mask.sum((0, 1))
        vocabulary = max(vocabulary, int(tokens.max()) + 1)
    position = total / np.maximum(count, 1)
    occurrences, added = np.zeros(vocabulary), np.zeros(vocabulary)
    for gamma, tokens, mask in _pieces(rollouts, slots):
        occurrences += np.bincount(tokens[mask], minlength=vocabulary)
        added += np.bincount(tokens[mask], weights=(gamma - position)[mask], minlength=vocabulary)
    token = added / (occurrences + PRIOR)
    shared = size = 0.0
    for gamma, tokens, mask in _pieces(rollouts, slots):
        rest = (gamma - position - token[tokens]) * mask
        others = np.maximum(mask.sum(1, keepdims=True) - mask, 1)
        group = (rest.sum(1, keepdims=True) - rest) * mask / others
        shared += float((rest * group).sum())
        size += float((group**2).sum())
    # Least squares of a response's rest on that of its group.
    share = shared / size if size > 0 else 0.0
    return position, token, min(max(share, 0.0), 1.0)
