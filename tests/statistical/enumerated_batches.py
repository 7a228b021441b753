"""Batches of the enumerable policy by the hundred thousand: gradients of all its tokens are tabulated once.

A prompt's part of the entropy gradient, and of the policy gradient, is a combination of grad log pi(t | prefix)
over the few prefixes there are.  The weights come from the package's own estimators and objective; here they
only meet the table instead of a backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.update.objective import normaliser_shares, token_weights
from tests import enumerable

V, LIMIT, END = enumerable.VOCABULARY, enumerable.LIMIT, enumerable.END
INNER = [t for t in range(V) if t != END]


def _prefixes() -> list[tuple[int, ...]]:
    """All prefixes a token can follow, shortest first."""
    out: list[tuple[int, ...]] = [()]
    for length in range(1, LIMIT):
        out += [(*p, t) for p in out if len(p) == length - 1 for t in INNER]
    return out


PREFIXES = _prefixes()
CHILD = np.array([[PREFIXES.index((*p, t)) if (*p, t) in PREFIXES else -1 for t in range(V)] for p in PREFIXES])


@dataclass(frozen=True)
class Table:
    """log pi(t | prompt, prefix) ``[prompts, prefixes, V]`` and its gradients ``[prompts * prefixes * V, D]``."""

    log_pi: np.ndarray
    gradients: np.ndarray
    shapes: dict[str, torch.Size]

    def flat(self, tensors: dict[str, torch.Tensor]) -> np.ndarray:
        """A vector by name as one of length D."""
        return torch.cat([tensors[name].reshape(-1).double() for name in self.shapes]).numpy()

    def named(self, vector: np.ndarray | torch.Tensor) -> dict[str, torch.Tensor]:
        """The inverse of :meth:`flat`, also for a batch ``[..., D]``."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = torch.as_tensor(vector).split(sizes, dim=-1)
        return {
            name: part.reshape(*part.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


@cache
def table() -> Table:
    policy = enumerable.policy()
    parameters = list(policy.trainable.values())
    log_pi = np.zeros((len(enumerable.PROMPTS), len(PREFIXES), V))
    rows = []
    for i, prompt in enumerate(enumerable.PROMPTS):
        for j, prefix in enumerate(PREFIXES):
            logits = policy.model(torch.tensor([[*prompt, *prefix]])).logits[0, -1].double()
            log_p = torch.log_softmax(logits, -1)
            log_pi[i, j] = log_p.detach().numpy()
            for t in range(V):
                grads = torch.autograd.grad(log_p[t], parameters, retain_graph=True)
                rows.append(torch.cat([g.reshape(-1) for g in grads]).numpy())
    return Table(log_pi, np.array(rows), {name: p.shape for name, p in policy.trainable.items()})


@dataclass(frozen=True)
class Batch:
    """N prompts with G responses: what was drawn, ``[N, G, LIMIT]``, zero where nothing counts."""

    prompts: np.ndarray
    prefix: np.ndarray
    tokens: np.ndarray
    mask: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        counted: np.ndarray = self.mask.sum(-1)
        return counted

    @property
    def log_probs(self) -> np.ndarray:
        return self._of(table().log_pi[self.prompts[:, None, None], self.prefix, self.tokens])

    @property
    def entropies(self) -> np.ndarray:
        log_pi = table().log_pi
        return self._of(-(np.exp(log_pi) * log_pi).sum(-1)[self.prompts[:, None, None], self.prefix])

    @property
    def rewards(self) -> np.ndarray:
        """Something to learn: token 2 is good, length is bad."""
        reward: np.ndarray = ((self.tokens == 2) & self.mask).sum(-1) - 0.3 * self.lengths
        return reward

    def _of(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.mask, values, 0.0)

    def entropy_parts(self, estimator: str = "rao_blackwell") -> np.ndarray:
        """Coefficients ``[N, rows of the table]`` of x_n."""
        log_probs, entropies, mask = (torch.from_numpy(x) for x in (self.log_probs, self.entropies, self.mask))
        weights = get_estimator(estimator).weights(log_probs, entropies, mask, None)
        parts = self._scatter(weights.log_prob.numpy())
        if weights.entropy is not None:
            # grad H = -sum_t pi(t) log pi(t) grad log pi(t): spread the weight of H over the prefix's tokens.
            log_pi = table().log_pi[self.prompts[:, None, None], self.prefix]
            spread = -np.exp(log_pi) * log_pi * weights.entropy.numpy()[..., None]
            for t in range(V):
                parts += self._scatter(spread[..., t], t)
        return parts

    def update_parts(
        self, objective: str = "dr_grpo", batches: int = 1, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """(coefficients of g_p ``[N, rows]``, kappa ``[N]``) of N / batches prompts in each of the batches."""
        rewards = torch.from_numpy(self.rewards).reshape(batches, -1, self.mask.shape[1])
        lengths = torch.from_numpy(self.lengths).reshape(rewards.shape)
        weights, shares = [], []
        for r, own in zip(rewards, lengths, strict=True):
            weights.append(len(r) * token_weights(r, own, objective, max_new_tokens=LIMIT, **options))
            shares.append(normaliser_shares(r, own, objective, **options))
        w = -torch.cat(weights).numpy()[..., None] * self.mask
        return self._scatter(w), torch.cat(shares).numpy()

    def _scatter(self, weights: np.ndarray, token: int | None = None) -> np.ndarray:
        shape = table().log_pi.shape
        tokens = self.tokens if token is None else np.full_like(self.tokens, token)
        index = (self.prompts[:, None, None] * shape[1] + self.prefix) * V + tokens
        rows = np.broadcast_to(np.arange(len(self.prompts))[:, None, None], index.shape)
        size = len(table().gradients)
        flat = np.bincount((rows * size + index).ravel(), (weights * self.mask).ravel(), len(self.prompts) * size)
        return flat.reshape(-1, size)


def sample(count: int, G: int, rng: np.random.Generator) -> Batch:
    """Independent prompts, uniformly from the few there are, with G independent responses each."""
    prompts = rng.integers(0, len(enumerable.PROMPTS), count)
    cumulative = np.exp(table().log_pi).cumsum(-1)
    state = np.zeros((count, G), dtype=int)
    alive = np.ones((count, G), dtype=bool)
    columns = []
    for _ in range(LIMIT):
        below = rng.random((count, G, 1)) > cumulative[prompts[:, None], state]
        token = np.minimum(below.sum(-1), V - 1)
        columns.append((state.copy(), token, alive.copy()))
        alive = alive & (token != END)
        child = CHILD[state, token]
        state = np.where(alive & (child >= 0), child, 0)
    prefix, tokens, mask = (np.stack(column, axis=-1) for column in zip(*columns, strict=True))
    return Batch(prompts, prefix, tokens, mask)


@cache
def population() -> tuple[Batch, np.ndarray]:
    """Every prompt with every pair of responses (G = 2), and the probability of each."""
    responses = list(enumerable.responses())
    tokens = np.zeros((len(responses), LIMIT), dtype=int)
    prefix = np.zeros_like(tokens)
    mask = np.zeros(tokens.shape, dtype=bool)
    for row, response in enumerate(responses):
        for k, t in enumerate(response):
            tokens[row, k], prefix[row, k], mask[row, k] = t, PREFIXES.index(tuple(response[:k])), True
    n, prompts = len(responses), len(enumerable.PROMPTS)
    which, first, second = (axis.ravel() for axis in np.indices((prompts, n, n)))
    pair = np.stack([first, second], axis=1)
    batch = Batch(which, prefix[pair], tokens[pair], mask[pair])
    return batch, np.exp(batch.log_probs.sum((1, 2))) / prompts


@dataclass(frozen=True)
class Moments:
    """Exact means and covariances of coefficient vectors x_n and g_n (rows of the table)."""

    mean_x: np.ndarray
    mean_g: np.ndarray
    cov_x: np.ndarray
    cov_g: np.ndarray


@cache
def moments() -> Moments:
    batch, probability = population()
    x, g = batch.entropy_parts(), batch.update_parts()[0]
    mean_x, mean_g = probability @ x, probability @ g

    def covariance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        moment: np.ndarray = (left * probability[:, None]).T @ right
        return moment

    return Moments(mean_x, mean_g, covariance(x - mean_x, x - mean_x), covariance(g - mean_g, g - mean_g))
