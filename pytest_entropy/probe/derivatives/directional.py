"""s_n = <X_n, u> for every prompt of a batch: one scoring pass and one backward per estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.policy import Policy, Scores
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.tangent import Tangent
from pytest_entropy.probe.estimators import Weights, weights_for
from pytest_entropy.probe.pieces import scoring_chunks, worked


@dataclass(frozen=True)
class Derivatives:
    """What a pass over P prompts leaves behind.

    ``per_prompt``: estimator name -> ``[P]`` float64 of <X_n, u>, in nats per unit of eta.
    ``log_probs``, ``entropies`` (and ``ranks``, ``surprisal_sd`` if asked for): ``[P, G, L]`` of the scoring
    pass, on the CPU, without gradients.
    ``first_surprises``: ``[P]``, how many of a prompt's responses are expected to leave the likeliest path
    (:func:`expected_first_surprises`).
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
    tangent = Tangent(policy.model, along_slope(policy.model, direction) if estimators else direction)
    names = [*estimators, *(sequence_weights or {})]

    def surrogate(name: str, slots: list[int], scores: Scores, part: Rollouts) -> Weights:
        if sequence_weights is not None and name in sequence_weights:
            mask = part.mask.to(policy.device)
            return Weights(sequence_weights[name][slots].to(mask.device).unsqueeze(-1) * mask)
        return weights_for(name, scores, part)

    def work(slots: list[int]) -> tuple[dict[str, np.ndarray], Scores, np.ndarray]:
        part = rollouts.select(slots)
        cut = None if ranks is None else ranks[slots, :, : part.tokens.shape[2]]
        epsilon = torch.zeros(len(slots), dtype=torch.float64, device=policy.device, requires_grad=True)
        with torch.enable_grad(), tangent.at(epsilon):
            scores = policy.score(part, cut)
        plain = _left_over(tangent, policy)
        # Where no hook carries anything, as with adapters of experts' parameters alone, there is no epsilon to ask.
        hooked = len(plain) < len(tangent.direction)
        per_prompt = {}
        for position, name in enumerate(names):
            weights = surrogate(name, slots, scores, part)
            last = position + 1 == len(names)
            per_prompt[name] = np.zeros(len(slots))
            if hooked:
                per_prompt[name] += _derivative(weights, scores, epsilon, keep=not last or bool(plain))
            if plain:
                per_prompt[name] += _by_plain_backward(policy, part, weights, plain)
        return per_prompt, _detached(scores), expected_first_surprises(scores, part)

    frozen = [p for p in policy.model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        with tangent.attached():
            parts = worked(scoring_chunks(rollouts, chunk_tokens), work, threads=threads)
            return _assemble(parts, rollouts, names)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def expected_first_surprises(scores: Scores, part: Rollouts) -> np.ndarray:
    """``[P]`` float64: how many of a prompt's G responses are expected to leave the likeliest path, token by token.

    The sum of 1 - max_u pi(u) over a response's tokens up to its first one that is not the likeliest: the compensator
    of that event, so that it has the event's expectation and hardly depends on whether it came.  What follows a first
    surprise is not counted, because responses and not tokens are independent.  NaN where the scores do not say how
    likely the likeliest token is.
    """
    if scores.likeliest is None:
        return np.full(len(part), np.nan)
    mask = part.mask.to(scores.likeliest.device)
    surprised = (scores.log_probs.detach() < scores.likeliest) & mask
    before = surprised.cumsum(-1) - surprised.long()
    chance = -torch.expm1(scores.likeliest.double())
    return (chance * (mask & (before == 0))).sum((1, 2)).cpu().numpy()


def _derivative(weights: Weights, scores: Scores, epsilon: torch.Tensor, *, keep: bool) -> np.ndarray:
    surrogate = weights.surrogate(scores.log_probs, scores.entropies, scores.expected_values)
    (grad,) = torch.autograd.grad(surrogate, epsilon, retain_graph=keep)
    return grad.cpu().numpy()


def _left_over(tangent: Tangent, policy: Policy) -> dict[str, torch.Tensor]:
    """The part of the direction that no hook has carried."""
    return {name: tangent.direction[name] for name in tangent.uncovered()}


def _by_plain_backward(
    policy: Policy, part: Rollouts, weights: Weights, direction: Mapping[str, torch.Tensor]
) -> np.ndarray:
    """<X_n, u> over a few parameters by one backward per prompt: the slow path for what hooks cannot reach."""
    parameters = {name: policy.trainable[name] for name in direction}
    out = np.zeros(len(part))
    for n in range(len(part)):
        one = part.select([n])
        own = weights.select(n, one.tokens.shape[2])
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                scores = policy.score(one)
                surrogate = own.surrogate(scores.log_probs, scores.entropies, scores.expected_values)
                grads = torch.autograd.grad(surrogate, list(parameters.values()), allow_unused=True)
        finally:
            for parameter in parameters.values():
                parameter.requires_grad_(False)
        out[n] = sum(
            float((g.double() * direction[name].double()).sum())
            for name, g in zip(parameters, grads, strict=True)
            if g is not None
        )
    return out


def _detached(scores: Scores) -> Scores:
    def cpu(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x.detach().cpu()

    return Scores(
        scores.log_probs.detach().cpu(), scores.entropies.detach().cpu(), cpu(scores.ranks), cpu(scores.surprisal_sd)
    )


def _assemble(
    parts: Iterable[tuple[list[int], tuple[dict[str, np.ndarray], Scores, np.ndarray]]],
    rollouts: Rollouts,
    estimators: Sequence[str],
) -> Derivatives:
    """Put the pieces' results at their prompts' places as they come."""
    shape = rollouts.tokens.shape
    per_prompt = {name: np.zeros(shape[0]) for name in estimators}
    tables: dict[str, torch.Tensor] = {}
    first_surprises = np.zeros(shape[0])
    for slots, (values, scores, expected) in parts:
        first_surprises[slots] = expected
        for name in estimators:
            per_prompt[name][slots] = values[name]
        for name in ("log_probs", "entropies", "ranks", "surprisal_sd"):
            column: torch.Tensor | None = getattr(scores, name)
            if column is not None:
                table = tables.setdefault(name, torch.zeros(shape, dtype=column.dtype))
                table[slots, :, : column.shape[2]] = column
    return Derivatives(per_prompt=per_prompt, first_surprises=first_surprises, **tables)
