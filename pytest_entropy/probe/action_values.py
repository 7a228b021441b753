"""What to expect of the entropy-to-go after each token, learnt from other prompts of the batch.

The prompts are cut into folds.  For the prompts of a fold, two tables are made of the other folds' responses as
the sampler recorded them: the mean of Gamma_k by position, and what a token u adds to it.  A prompt's tables are
independent of its own responses, so whatever they hold, the estimator that uses them keeps its mean exactly.

Scalars s_n of the same fold stay uncorrelated given the tables; those of different folds share data, which
moves the variance of their mean by a relative O(1/P) only (docs/variance-reduction.md, with the simulation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.rollouts import ActionValues, Rollouts

FOLDS = 4
# A token's mean counts as if this many more occurrences had added nothing.
PRIOR = 4.0


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
    mask = rollouts.mask.cpu().numpy()
    nats = rollouts.entropies.double().cpu().numpy() * mask
    gamma = np.flip(np.flip(nats, -1).cumsum(-1), -1) - nats
    tokens = np.where(mask, rollouts.tokens.cpu().numpy(), 0)
    fold = np.arange(len(rollouts)) % folds
    tables = [_tables(gamma[fold != f], tokens[fold != f], mask[fold != f]) for f in range(folds)]
    vocabulary = max(len(token) for _, token, _ in tables)
    learnt = ActionValues(
        fold=torch.from_numpy(fold),
        position=torch.from_numpy(np.stack([position for position, _, _ in tables])),
        token=torch.from_numpy(np.stack([np.pad(token, (0, vocabulary - len(token))) for _, token, _ in tables])),
        share=torch.tensor([share for _, _, share in tables], dtype=torch.float64),
    )
    return replace(rollouts, action_values=learnt)


def _tables(gamma: np.ndarray, tokens: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(mean by position ``[L]``, addition by token ``[T]``, share) from ``[P, G, L]`` of Gamma_k, tokens, mask."""
    position = (gamma * mask).sum((0, 1)) / np.maximum(mask.sum((0, 1)), 1)
    rest = (gamma - position) * mask
    occurrences = np.bincount(tokens[mask])
    token = np.bincount(tokens[mask], weights=rest[mask]) / (occurrences + PRIOR)
    rest = (rest - token[tokens]) * mask
    others = np.maximum(mask.sum(1, keepdims=True) - mask, 1)
    group = (rest.sum(1, keepdims=True) - rest) * mask / others
    size = float((group**2).sum())
    # Least squares of a response's rest on that of its group.
    share = float((rest * group).sum()) / size if size > 0 else 0.0
    return position, token, min(max(share, 0.0), 1.0)
