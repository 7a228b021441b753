"""Control variate tables: the expected entropy-to-go after each token, learnt from the responses of the update batch U.

Three tables are computed from U's responses as the sampler recorded them: the mean of Gamma_k by position, what a token
u adds to it in any context, and what it adds in one context, the last token before k that decided something.  U and E
share no response, so the estimator that uses the tables keeps its mean exactly, whatever they hold, and given U the
scalars s_n are independent and identically distributed, whatever B_E.  (Tables learnt within E, across folds, would
make its prompts dependent, and be better the larger B_E: docs/variance-reduction.md.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.action_values import STRIDE, ControlVariateTables
from pytest_entropy.policy.rollouts import Rollouts

# Shrinkage: a mean is taken as if this much more weight of tokens had added 0.  How much, cross-validation over U's
# prompts chooses, the most where several are as good; with fewer prompts than folds it is ``UNKNOWN``.
PRIORS = (math.inf, 128.0, 32.0, 8.0, 2.0, 0.5)
FOLDS, UNKNOWN = 4, 8.0
# A token that had to come has this weight by position, and none by token: it teaches nothing of choices.
LEAST = 1e-3
# Pairs kept of one context: those with the largest effect.
WIDEST = 256
# Share of the responses that have the opening, and its largest length.
SHARED, LONGEST = 0.95, 32
# Prompts processed at a time, to bound memory; it changes the rounding of sums only.
PROMPTS_PER_PIECE = 256


@dataclass(frozen=True)
class ControlVariate:
    """The tables looked up at the tokens of P prompts' responses, float64.

    Attributes:
        baseline: mean of Gamma_k by position and the prefix's value, ``[P, G, L]``, nats.
        own: q(c_k, t_k) of the sampled tokens, ``[P, G, L]``, nats.
        expected: Q_k = sum_u q(c_k, u) pi(u), ``[P, G, L]``, nats, without gradient.
        cleans: 1 where the entropy-to-go is cleaned of q(c_j, t_j) - Q_j of later tokens j, else 0.
        share: what is taken off of the group's other responses, in [0, 1].
    """

    baseline: torch.Tensor
    own: torch.Tensor
    expected: torch.Tensor
    cleans: torch.Tensor
    share: torch.Tensor

    @classmethod
    def of(cls, part: Rollouts, expected: torch.Tensor, values: torch.Tensor | None = None) -> ControlVariate:
        """Look up the tables that rollouts carry at the rollouts' own tokens.

        Args:
            part: P prompts x G responses with tables.
            expected: Q_k ``[P, G, L]`` of their scoring pass, nats; the result is put on its device.
            values: of the tokens' prefixes ``[P, G, L]``, nats; None without any.

        Raises:
            ValueError: the rollouts carry no tables.
        """
        if part.control_variate is None:
            raise ValueError("the rollouts carry no control variate tables; learn() makes them from another batch")
        tables = part.control_variate.on(expected.device)
        # Tokens after a response's end are looked up too; their weight is zero.
        own = tables.own(part.contexts.to(expected.device), part.tokens.to(expected.device))
        position = tables.position[: part.tokens.shape[2]].expand(own.shape)
        baseline = position if values is None else position + values
        return cls(baseline, own, expected.detach().double(), tables.cleans, tables.share)


def learn(batch: Rollouts, positions: int) -> ControlVariateTables:
    """Learn the control variate tables from a batch's responses, for another batch (docs/variance-reduction.md).

    Each token counts with the weight 1 - pi(t_k), the part of it that was not certain to come.

    Args:
        batch: the responses to learn from, P prompts x G.
        positions: largest number of tokens of a response in the other batch.
    """
    position = _position_means(batch)
    seen = _Choices.of(batch, position)
    by_token, by_pair = _chosen_priors(seen, len(batch))
    size, total = seen.token_sums()
    token = total / (size + by_token)
    keys, size, total = seen.pair_sums(token)
    values = total / (size + by_pair)
    kept = _largest_of_each(keys // STRIDE, size * values**2)
    return ControlVariateTables(
        position=torch.from_numpy(np.pad(position, (0, positions - len(position)))),
        token=torch.from_numpy(token),
        pair_context=torch.from_numpy(keys[kept] // STRIDE),
        pair_token=torch.from_numpy(keys[kept] % STRIDE),
        pair_value=torch.from_numpy(values[kept]),
        opening=_opening(batch),
        cleans=torch.ones((), dtype=torch.float64),
        share=torch.zeros((), dtype=torch.float64),
        value=torch.zeros(0, dtype=torch.float64),
    )


def _opening(rollouts: Rollouts) -> torch.Tensor:
    """The tokens that ``SHARED`` of the responses begin with and go on after, ``[K]`` int64, at most ``LONGEST``."""
    responses = rollouts.lengths.numel()
    following, opening = torch.ones(rollouts.lengths.shape, dtype=torch.bool), []
    lengths = rollouts.lengths.cpu()
    for k in range(min(rollouts.tokens.shape[2], LONGEST)):
        here = rollouts.tokens[:, :, k].cpu()
        going_on = following & (lengths > k + 1)
        if int(going_on.sum()) < SHARED * responses:
            break
        token = int(here[going_on].mode().values)
        following = going_on & (here == token)
        if int(following.sum()) < SHARED * responses:
            break
        opening.append(token)
    return torch.tensor(opening, dtype=torch.int64)


def _pieces(rollouts: Rollouts) -> Iterator[tuple[np.ndarray, Rollouts, np.ndarray, np.ndarray]]:
    """Yield (prompts, their rollouts, Gamma_k, weights 1 - pi(t_k)), a few prompts at a time.

    Tables are ``[p, G, L]``; weights are 0 after a response's end.
    """
    for first in range(0, len(rollouts), PROMPTS_PER_PIECE):
        prompts = np.arange(first, min(first + PROMPTS_PER_PIECE, len(rollouts)))
        part = rollouts.select(prompts.tolist())
        mask = part.mask.cpu().numpy()
        nats = part.entropies.double().cpu().numpy() * mask
        gamma = np.flip(np.flip(nats, -1).cumsum(-1), -1) - nats
        yield prompts, part, gamma, -np.expm1(part.log_probs.double().cpu().numpy()) * mask


def _position_means(rollouts: Rollouts) -> np.ndarray:
    """Weighted means of Gamma_k by position, ``[L]`` nats."""
    total, size = np.zeros(rollouts.tokens.shape[2]), np.zeros(rollouts.tokens.shape[2])
    for _, part, gamma, weights in _pieces(rollouts):
        length, own = gamma.shape[2], (weights + LEAST) * part.mask.cpu().numpy()
        total[:length] += (gamma * own).sum((0, 1))
        size[:length] += own.sum((0, 1))
    means: np.ndarray = total / np.where(size > 0, size, 1)
    return means


@dataclass(frozen=True)
class _Choices:
    """The tokens of a batch that were not certain to come, ``[n]`` each.

    Attributes:
        prompts: number of the prompt.
        tokens: token id.
        keys: (context, token) as one number.
        weights: 1 - pi(t).
        rest: Gamma_k less its mean at the position, nats.
    """

    prompts: np.ndarray
    tokens: np.ndarray
    keys: np.ndarray
    weights: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, rollouts: Rollouts, position: np.ndarray) -> _Choices:
        columns = []
        for prompts, part, gamma, weights in _pieces(rollouts):
            counted = weights > LEAST
            tokens, contexts = (table.cpu().numpy()[counted] for table in (part.tokens, part.contexts))
            which = np.broadcast_to(prompts[:, None, None], counted.shape)[counted]
            rest = (gamma - position[: gamma.shape[2]])[counted]
            columns.append((which, tokens, contexts * STRIDE + tokens, weights[counted], rest))
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def select(self, kept: np.ndarray) -> _Choices:
        """Those where ``kept`` ``[n]`` is True."""
        return _Choices(*(column[kept] for column in vars(self).values()))

    def token_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """(sum of weights, weighted sum of ``rest``) by token, ``[T]`` each."""
        return np.bincount(self.tokens, self.weights, 1), np.bincount(self.tokens, self.weights * self.rest, 1)

    def pair_sums(self, token: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(keys, sum of weights, weighted sum of what ``token`` leaves of ``rest``), ``[N]`` each, in order of keys."""
        keys, place = np.unique(self.keys, return_inverse=True)
        left = self.weights * (self.rest - _looked_up(token, self.tokens))
        return keys, np.bincount(place, self.weights, len(keys)), np.bincount(place, left, len(keys))


def _looked_up(token: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """A table by token at some tokens, 0 beyond its end."""
    values: np.ndarray = np.append(token, 0.0)[np.minimum(tokens, len(token))]
    return values


def _largest_of_each(groups: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether each of ``[N]`` is among the ``WIDEST`` largest of its group, and above 0; groups are in order."""
    order = np.lexsort((-sizes, groups))
    first = np.searchsorted(groups, groups)
    kept = np.zeros(len(groups), dtype=bool)
    kept[order] = np.arange(len(groups)) - first[order] < WIDEST
    return kept & (sizes > 0)


def _chosen_priors(seen: _Choices, prompts: int) -> tuple[float, float]:
    """Shrinkage of the token table, and given it of the pairs, with the least squared error on prompts left out."""
    if prompts < FOLDS:
        return UNKNOWN, UNKNOWN
    splits = [(seen.select(seen.prompts % FOLDS != f), seen.select(seen.prompts % FOLDS == f)) for f in range(FOLDS)]
    by_token = PRIORS[int(np.argmin(sum(_token_errors(*split) for split in splits)))]
    by_pair = PRIORS[int(np.argmin(sum(_pair_errors(*split, by_token) for split in splits)))]
    return by_token, by_pair


def _token_errors(learnt: _Choices, left_out: _Choices) -> np.ndarray:
    """Weighted squared error of the token table on what was left out, for each prior."""
    size, total = learnt.token_sums()
    means = [_looked_up(total / (size + prior), left_out.tokens) for prior in PRIORS]
    return np.array([(left_out.weights * (left_out.rest - mean) ** 2).sum() for mean in means])


def _pair_errors(learnt: _Choices, left_out: _Choices, by_token: float) -> np.ndarray:
    """Weighted squared error of both tables on what was left out, for each prior of the pairs."""
    size, total = learnt.token_sums()
    token = total / (size + by_token)
    rest = left_out.rest - _looked_up(token, left_out.tokens)
    keys, size, total = learnt.pair_sums(token)
    if not len(keys):
        return np.zeros(len(PRIORS))
    place = np.searchsorted(keys, left_out.keys).clip(max=len(keys) - 1)
    known = keys[place] == left_out.keys
    means = [np.where(known, (total / (size + prior))[place], 0.0) for prior in PRIORS]
    return np.array([(left_out.weights * (rest - mean) ** 2).sum() for mean in means])
