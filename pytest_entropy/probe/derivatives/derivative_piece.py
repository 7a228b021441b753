"""s_n = <X_n, u> of some prompts of a batch: the piece of work that :mod:`.directional` cuts a batch into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.attached import attached
from pytest_entropy.probe.derivatives.tangent import Tangent
from pytest_entropy.probe.estimators import Weights, weights_for


@dataclass(frozen=True)
class PieceDerivatives:
    """What a piece gives: <X_n, u> ``[p]`` by name, its scoring pass ``[p, G, L]`` on the CPU, and for each prompt the
    expected number of responses that leave the likeliest path ``[p]``."""

    per_prompt: dict[str, np.ndarray]
    forced: TeacherForced
    first_surprises: np.ndarray


@dataclass(frozen=True)
class DerivativePiece:
    """Derivatives to be had of some prompts.

    Attributes:
        part: the prompts' rollouts, P prompts x G responses.
        direction: u by live parameter name; all pieces of a batch share one.
        estimators: names; or, in their place:
        sequence_weights: by name, weights ``[p, G]`` of surrogates sum_g w_ng S_ng.
        ranks: uniform numbers ``[p, G, L]``, if surprisal ranks are wanted.
    """

    part: Rollouts
    direction: Mapping[str, torch.Tensor]
    estimators: tuple[str, ...] = ()
    sequence_weights: Mapping[str, torch.Tensor] | None = None
    ranks: torch.Tensor | None = None

    def compute(self, policy: Policy) -> PieceDerivatives:
        """One scoring pass, one backward by epsilon for each estimator."""
        names = [*self.estimators, *(self.sequence_weights or {})]
        with attached(policy, self.direction, slope=bool(self.estimators)) as tangent:
            epsilon = torch.zeros(len(self.part), dtype=torch.float64, device=policy.device, requires_grad=True)
            with torch.enable_grad(), tangent.at(epsilon):
                forced = policy.teacher_force(self.part, self.ranks)
            plain = _left_over(tangent, policy)
            # Where no hook carries anything, as with adapters of experts' parameters alone, there is no epsilon to ask.
            hooked = len(plain) < len(tangent.direction)
            per_prompt = {}
            for position, name in enumerate(names):
                weights = self._surrogate(name, forced, policy)
                last = position + 1 == len(names)
                per_prompt[name] = np.zeros(len(self.part))
                if hooked:
                    per_prompt[name] += _derivative(weights, forced, epsilon, keep=not last or bool(plain))
                if plain:
                    per_prompt[name] += _by_plain_backward(policy, self.part, weights, plain)
            return PieceDerivatives(per_prompt, _detached(forced), expected_first_surprises(forced, self.part))

    def _surrogate(self, name: str, forced: TeacherForced, policy: Policy) -> Weights:
        if self.sequence_weights is not None and name in self.sequence_weights:
            mask = self.part.mask.to(policy.device)
            return Weights(self.sequence_weights[name].to(mask.device).unsqueeze(-1) * mask)
        return weights_for(name, forced, self.part)


def expected_first_surprises(forced: TeacherForced, part: Rollouts) -> np.ndarray:
    """``[P]`` float64: how many of a prompt's G responses are expected to leave the likeliest path, token by token.

    The sum of 1 - max_u pi(u) over a response's tokens up to its first one that is not the likeliest: the compensator
    of that event, so that it has the event's expectation and hardly depends on whether it came.  What follows a first
    surprise is not counted, because responses and not tokens are independent.  NaN where the scores do not say how
    likely the likeliest token is.
    """
    if forced.likeliest is None:
        return np.full(len(part), np.nan)
    mask = part.mask.to(forced.likeliest.device)
    surprised = (forced.log_probs.detach() < forced.likeliest) & mask
    before = surprised.cumsum(-1) - surprised.long()
    chance = -torch.expm1(forced.likeliest.double())
    return (chance * (mask & (before == 0))).sum((1, 2)).cpu().numpy()


def _derivative(weights: Weights, forced: TeacherForced, epsilon: torch.Tensor, *, keep: bool) -> np.ndarray:
    surrogate = weights.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
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
                forced = policy.teacher_force(one)
                surrogate = own.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
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


def _detached(forced: TeacherForced) -> TeacherForced:
    def cpu(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x.detach().cpu()

    return TeacherForced(
        forced.log_probs.detach().cpu(), forced.entropies.detach().cpu(), cpu(forced.ranks), cpu(forced.surprisal_sd)
    )
