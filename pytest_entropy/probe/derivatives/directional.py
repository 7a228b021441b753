"""s_n = <X_n, u> for every prompt of a batch: one scoring pass and one backward per estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.attached import attached
from pytest_entropy.probe.derivatives.derivative_piece import DerivativePiece, PieceDerivatives
from pytest_entropy.probe.pieces import scoring_chunks, worked


@dataclass(frozen=True)
class Derivatives:
    """What a pass over P prompts leaves behind.

    ``per_prompt``: estimator name -> ``[P]`` float64 of <X_n, u>, in nats per unit of eta.
    ``log_probs``, ``entropies`` (and ``ranks``, ``surprisal_sd`` if asked for): ``[P, G, L]`` of the scoring
    pass, on the CPU, without gradients.
    ``first_surprises``: ``[P]``, how many of a prompt's responses are expected to leave the likeliest path
    (:func:`~.derivative_piece.expected_first_surprises`).
    """

    per_prompt: dict[str, np.ndarray]
    log_probs: torch.Tensor
    entropies: torch.Tensor
    ranks: torch.Tensor | None = None
    surprisal_sd: torch.Tensor | None = None
    first_surprises: np.ndarray = field(default_factory=lambda: np.empty(0))


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
) -> Derivatives:
    """<X_n, u> of every prompt for each of the named estimators, without a per-prompt gradient vector.

    Args:
        policy: gives the scoring pass; its parameters are left untouched and need no gradient here.
        rollouts: P prompts x G responses.
        direction: u by live parameter name.
        estimators: names of estimators; each costs one more backward over the same graph.
        chunk_tokens: token budget of a piece, which bounds memory whatever P is.
        threads: pieces worked on at once.
        ranks: uniform numbers ``[P, G, L]``, if surprisal ranks are wanted.
        sequence_weights: by name, fixed weights w ``[P, G]`` of surrogates sum_g w_ng S_ng in the estimators'
            place: parts of a trainer's loss, which it differentiates by backward as it is (:mod:`.dora`), where
            estimators are slopes.

    Raises:
        ValueError: an estimator that cannot work with this G; estimators and sequence weights at once.
        KeyError: a direction for a parameter the model does not have.
    """
    if estimators and sequence_weights:
        raise ValueError("estimators are taken along the slope, sequence weights by backward: not in one pass")
    names = [*estimators, *(sequence_weights or {})]

    def piece(indices: list[int]) -> DerivativePiece:
        part = rollouts.select(indices)
        own = None if sequence_weights is None else {name: w[indices] for name, w in sequence_weights.items()}
        cut = None if ranks is None else ranks[indices, :, : part.tokens.shape[2]]
        return DerivativePiece(part, direction, tuple(estimators), own, cut)

    # Held over all pieces, each of which would attach the direction for itself.
    with attached(policy, direction, slope=bool(estimators)):
        parts = worked(policy, scoring_chunks(rollouts, chunk_tokens), piece, threads=threads)
        return _assemble(parts, rollouts, names)


def _assemble(
    parts: Iterable[tuple[list[int], PieceDerivatives]],
    rollouts: Rollouts,
    estimators: Sequence[str],
) -> Derivatives:
    """Put the pieces' results at their prompts' places as they come."""
    shape = rollouts.tokens.shape
    per_prompt = {name: np.zeros(shape[0]) for name in estimators}
    tables: dict[str, torch.Tensor] = {}
    first_surprises = np.zeros(shape[0])
    for indices, found in parts:
        first_surprises[indices] = found.first_surprises
        for name in estimators:
            per_prompt[name][indices] = found.per_prompt[name]
        for name in ("log_probs", "entropies", "ranks", "surprisal_sd"):
            column: torch.Tensor | None = getattr(found.forced, name)
            if column is not None:
                table = tables.setdefault(name, torch.zeros(shape, dtype=column.dtype))
                table[indices, :, : column.shape[2]] = column
    return Derivatives(per_prompt=per_prompt, first_surprises=first_surprises, **tables)
