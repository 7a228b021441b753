"""Plain loops over one prompt's responses, for estimators' definitions; no code is shared with the tensor versions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Table = list[list[float]]


@dataclass(frozen=True)
class TokenValues:
    """q(c, u) of all tokens u in one context c, nats: a list by token id, 0 beyond its end, and what the context adds.

    Attributes:
        token: by token id.
        added: by token id, for some tokens.
    """

    token: Sequence[float]
    added: Mapping[int, float]

    def of(self, token: int) -> float:
        """The value of one token."""
        everywhere, here = self.token[token] if token < len(self.token) else 0.0, self.added.get(token)
        return everywhere if here is None else everywhere + here


@dataclass(frozen=True)
class Taught:
    """Control variate tables learnt from another batch, as plain numbers.

    Attributes:
        position: by position k, the mean entropy-to-go, nats.
        token: by token id u, what the token adds to it, nats; 0 beyond the end of the list.
        pairs: by context and token id, what the token adds in this context beyond that, nats.
        cleans: whether the entropy-to-go is cleaned of later tokens' action values.
        share: what is taken off of what is left, on average, of the group's other responses at the same position.
    """

    position: list[float]
    token: list[float]
    pairs: Mapping[int, Mapping[int, float]]
    cleans: bool = True
    share: float = 0.0

    def values_in(self, context: int) -> TokenValues:
        """The action values in a context."""
        return TokenValues(self.token, self.pairs.get(context, {}))


@dataclass(frozen=True)
class OnePrompt:
    """One prompt's responses, each a row of its own length.

    Attributes:
        log_probs: log pi(t_k), nats.
        entropies: H_k, nats.
        responses: token ids t_k.
        taught: control variate tables, for an estimator that learns and rollouts that carry them; else None.
        contexts: of each token by :func:`contexts_of`; empty without ``taught``.
        expected: sum_u q(c_k, u) pi(u), nats; empty without ``taught``.
        prefix_values: what each token's prefix adds to the mean of its position, nats; empty without ``taught``.
    """

    log_probs: Table
    entropies: Table
    responses: Sequence[Sequence[int]]
    taught: Taught | None = None
    contexts: Sequence[Sequence[int]] = ()
    expected: Table = field(default_factory=list)
    prefix_values: Table = field(default_factory=list)

    @property
    def group(self) -> int:
        """G, the number of responses."""
        return len(self.log_probs)


@dataclass(frozen=True)
class LoopWeights:
    """Weights of a surrogate's terms for one prompt.

    Attributes:
        log_prob: of log pi(t_k), response by response.
        entropy: of H_k, response by response.
        expected_value: of sum_u q_k(u) pi(u), response by response; no such term if empty.
        q: the action values at each token, response by response.
    """

    log_prob: Table
    entropy: Table
    expected_value: Table = field(default_factory=list)
    q: Sequence[Sequence[TokenValues]] = ()


def contexts_of(response: Sequence[int], recorded: Sequence[float]) -> list[int]:
    """The context of each token of a response: the last token before it with a chance below 9 in 10, -1 without one.

    Args:
        response: token ids.
        recorded: log pi(t_k) as the sampler recorded it, nats.
    """
    found, context = [], -1
    for token, log_prob in zip(response, recorded, strict=True):
        found.append(context)
        if log_prob < math.log(0.9):
            context = token
    return found


def to_go(entropies: Table) -> Table:
    """Gamma_k = sum_{j>k} H_j, the entropy-to-go after each token, nats."""
    table = []
    for row in entropies:
        later, own = 0.0, []
        for nats in reversed(row):
            own.append(later)
            later += nats
        table.append(own[::-1])
    return table


def mean_of_others(table: Table, g: int, k: int) -> float:
    """Mean at position k over the rows other than g that are longer than k; 0 where there is no such row.

    Args:
        table: a number per token, response by response.
        g: index of the response left out.
        k: position of the token.
    """
    others = [row[k] for h, row in enumerate(table) if h != g and len(row) > k]
    return sum(others) / len(others) if others else 0.0


def equal(table: Table) -> Table:
    """A table of the same shape with 1/G for every token."""
    return [[1 / len(table)] * len(row) for row in table]


def zero(table: Table) -> Table:
    """A table of the same shape with 0 for every token."""
    return [[0.0] * len(row) for row in table]


def per_response(factors: Sequence[float], table: Table) -> Table:
    """A table of the same shape with factor_g / G for every token of response g.

    Args:
        factors: one factor per response.
        table: a number per token, response by response; only its shape is used.
    """
    return [[factor / len(table)] * len(row) for factor, row in zip(factors, table, strict=True)]
