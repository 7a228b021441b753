"""s_n = <X_n, u> for every prompt of a batch: one scoring pass and one backward per estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pytest_entropy.policy.dora import slope_gradient
from pytest_entropy.policy.equal_responses import EqualResponses
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.attached import attached
from pytest_entropy.probe.derivatives.derivative_piece import DerivativePiece, PieceDerivatives
from pytest_entropy.probe.derivatives.gradient import GradientSum
from pytest_entropy.probe.memory.budget import available
from pytest_entropy.probe.pieces import scoring_chunks, worked

# Bytes of directions that need no thought.
LIGHT = 2**26
# Of free memory; directions are not forecast with a piece.
SPARE = 1 / 4


@dataclass(frozen=True)
class Derivatives:
    """Directional derivatives of P prompts, and the tables of their scoring pass (on the CPU, without gradients).

    Attributes:
        per_prompt: <X_n, u> ``[P]`` float64 by estimator name, in nats per unit of eta.
        log_probs: log pi(t_k) ``[P, G, L]``, nats.
        entropies: H_k ``[P, G, L]``, nats.
        sequence, nats: sums of both over the tokens of each response, S and sum_k H_k, ``[P, G]`` float64, nats.
        ranks, surprisal_sd: ``[P, G, L]``; None unless surprisal ranks were asked for.
        first_surprises: ``[P]``, of :func:`~.derivative_piece.expected_first_surprises`.
        gradients: sum_n X_n over each group of prompts by live parameter name, float64; empty unless asked for.
        along: <X_n, v_k> ``[K, P]`` float64 by estimator name, for the K further directions.
    """

    per_prompt: dict[str, np.ndarray]
    log_probs: torch.Tensor
    entropies: torch.Tensor
    ranks: torch.Tensor | None = None
    surprisal_sd: torch.Tensor | None = None
    first_surprises: np.ndarray = field(default_factory=lambda: np.empty(0))
    sequence: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    nats: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    gradients: tuple[dict[str, torch.Tensor], ...] = ()
    along: dict[str, np.ndarray] = field(default_factory=dict)


def directional_derivatives(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    estimators: Sequence[str],
    *,
    chunk_tokens: int,
    threads: int = 1,
    ranks: torch.Tensor | None = None,
    sequence_weights: Mapping[str, torch.Tensor] | None = None,
    gradient_of: str | None = None,
    groups: Sequence[Sequence[int]] = (),
    also: Sequence[Mapping[str, torch.Tensor]] = (),
) -> Derivatives:
    """s_n = <X_n, u> of every prompt, without a gradient vector per prompt (docs/mathematics.md §3).

    Args:
        policy: runs the scoring pass; its parameters do not change.
        rollouts: P prompts x G responses.
        direction: u by live parameter name.
        estimators: names of estimators; each costs one more backward over the same graph.
        chunk_tokens: token budget of a piece, which bounds memory whatever P is.
        threads: number of pieces computed at once.
        ranks: uniform numbers ``[P, G, L]`` for surprisal ranks; None for none.
        sequence_weights: instead of estimators, fixed weights w ``[P, G]`` by name of surrogates sum_g w_ng S_ng.
            They are differentiated as a trainer's backward does, estimators along the slope, which differs with DoRA
            (:mod:`pytest_entropy.policy.dora`).
        gradient_of, groups: the estimator whose sums over groups of prompts are wanted as vectors from the same
            backward, and the prompts' positions, which come in pieces of their own; all of them if left out.
        also: K further directions v_k of the same parameters, taken along in the same passes.

    Raises:
        ValueError: an estimator does not allow this G, or both estimators and sequence weights are given.
        RunError: the gradient of a parameter, which the message names, is not finite.
    """
    _require_one_kind(estimators, sequence_weights, gradient_of)
    every = (direction, *also)
    equal = EqualResponses.of(rollouts)

    whole = DerivativePiece(
        rollouts, every, tuple(estimators), sequence_weights, ranks, gradient_of, chunk_tokens, equal=equal
    )
    sums = _GroupSums(policy, groups or [range(len(rollouts))]) if gradient_of else None
    with attached(policy, every, slope=bool(estimators), gradients=sums is not None):
        chunks = _chunks(rollouts, chunk_tokens, groups, equal.distinct, pads=policy.pads)
        parts = worked(policy, chunks, whole.select, threads=threads)
        found = _assemble(parts, rollouts, (*estimators, *(sequence_weights or {})), sums, len(every))
    return found if sums is None else replace(found, gradients=sums.totals())


class _GroupSums:
    """Sums of gradients over groups of prompts.

    Args:
        policy: the gradients are over its trainable parameters.
        groups: positions of the prompts that are summed together.
    """

    def __init__(self, policy: Policy, groups: Sequence[Sequence[int]]) -> None:
        self._model, self._sums = policy.model, [GradientSum(policy) for _ in groups]
        self._of_prompt = {n: total for group, total in zip(groups, self._sums, strict=True) for n in group}

    def add(self, indices: Sequence[int], gradient: Mapping[str, torch.Tensor]) -> None:
        """Add the gradient of a piece, whose prompts are all of one group."""
        self._of_prompt[indices[0]].add(gradient)

    def totals(self) -> tuple[dict[str, torch.Tensor], ...]:
        """The sums along the slope, with DoRA's correction."""
        return tuple(slope_gradient(self._model, total.finite()) for total in self._sums)


def _chunks(
    rollouts: Rollouts,
    tokens: int,
    groups: Sequence[Sequence[int]],
    distinct: Sequence[int],
    *,
    pads: bool,
) -> list[list[int]]:
    """The positions of each piece's prompts, all of one group."""
    if not groups:
        return scoring_chunks(rollouts, tokens, pads=pads, distinct=distinct)
    chunks = []
    for group in groups:
        own = [distinct[n] for n in group]
        cut = scoring_chunks(rollouts.select(list(group)), tokens, pads=pads, distinct=own)
        chunks += [[group[i] for i in chunk] for chunk in cut]
    return chunks


def _require_one_kind(
    estimators: Sequence[str], sequence_weights: Mapping[str, torch.Tensor] | None, gradient_of: str | None
) -> None:
    if estimators and sequence_weights:
        raise ValueError("estimators are differentiated along the slope, sequence weights by backward: not in one pass")
    if gradient_of not in (None, *estimators):
        raise ValueError(f"the gradient of {gradient_of} is wanted, and the estimators are {list(estimators)}")


def directions_at_once(policy: Policy) -> int:
    """How many directions one pass may take along: as many as the model weighs, or ``LIGHT``; at least one.

    On a GPU they take at most ``SPARE`` of what is free there.  In a CPU's memory fewer directions, and so more passes,
    cost more than they save: a group of directions is small beside the vectors that a run holds anyway.

    Args:
        policy: a direction moves all its trainable parameters.
    """
    model, direction = (
        sum(p.numel() * p.element_size() for p in parameters)
        for parameters in (policy.model.parameters(), policy.trainable.values())
    )
    room, free = max(model, LIGHT), _free_on_a_gpu(policy)
    return max(1, (room if free is None else min(room, int(SPARE * free))) // max(direction, 1))


def _free_on_a_gpu(policy: Policy) -> int | None:
    return None if policy.device.type == "cpu" else available(policy.device)


def _assemble(
    parts: Iterable[tuple[list[int], PieceDerivatives]],
    rollouts: Rollouts,
    estimators: Sequence[str],
    sums: _GroupSums | None,
    directions: int,
) -> Derivatives:
    """Derivatives of the whole batch from those of its pieces, in any order; vectors go to the sum of their prompts."""
    shape = rollouts.tokens.shape
    per_prompt = {name: np.zeros((directions, shape[0])) for name in estimators}
    tables: dict[str, torch.Tensor] = {}
    first_surprises, sequence, nats = np.zeros(shape[0]), np.zeros(shape[:2]), np.zeros(shape[:2])
    for indices, result in parts:
        # Summed piece by piece, as a pass without derivatives does: on the CPU the bits are the same.
        sequence[indices], nats[indices] = (
            table.double().sum(-1).numpy() for table in (result.forced.log_probs, result.forced.entropies)
        )
        first_surprises[indices] = result.first_surprises
        # Only of a complete piece: one that runs out of memory has added nothing.
        if sums is not None:
            sums.add(indices, result.gradient)
        for name in estimators:
            per_prompt[name][:, indices] = result.per_prompt[name]
        for name in ("log_probs", "entropies", "ranks", "surprisal_sd"):
            column: torch.Tensor | None = getattr(result.forced, name)
            if column is not None:
                table = tables.setdefault(name, torch.zeros(shape, dtype=column.dtype))
                table[indices, :, : column.shape[2]] = column
    return Derivatives(
        {name: values[0] for name, values in per_prompt.items()},
        tables["log_probs"], tables["entropies"], tables.get("ranks"), tables.get("surprisal_sd"),
        first_surprises, sequence, nats, along={name: values[1:] for name, values in per_prompt.items()},
    )  # fmt: skip
