"""s_n = <X_n, u> for some of a batch's prompts: one of the pieces that :mod:`.directional` cuts a batch into."""

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
    """The result of a piece with p prompts.

    Attributes:
        per_prompt: <X_n, u> ``[p]`` float64 by estimator name, in nats per unit of eta.
        forced: the scoring pass, tables ``[p, G, L]`` on the CPU.
        first_surprises: ``[p]``, of :func:`expected_first_surprises`.
    """

    per_prompt: dict[str, np.ndarray]
    forced: TeacherForced
    first_surprises: np.ndarray


@dataclass(frozen=True)
class DerivativePiece:
    """A request for the directional derivatives of p prompts.

    Attributes:
        part: the prompts' rollouts, p prompts x G responses.
        direction: u by live parameter name; all pieces of a batch share one.
        estimators: names of estimators.
        sequence_weights: instead of estimators, weights ``[p, G]`` by name of surrogates sum_g w_ng S_ng.
        ranks: uniform numbers ``[p, G, L]`` for surprisal ranks; None if no ranks are wanted.
    """

    part: Rollouts
    direction: Mapping[str, torch.Tensor]
    estimators: tuple[str, ...] = ()
    sequence_weights: Mapping[str, torch.Tensor] | None = None
    ranks: torch.Tensor | None = None

    def compute(self, policy: Policy) -> PieceDerivatives:
        """Compute <X_n, u> ``[p]`` by one scoring pass and one backward by epsilon for each estimator."""
        names = [*self.estimators, *(self.sequence_weights or {})]
        with attached(policy, self.direction, slope=bool(self.estimators)) as tangent:
            epsilon = torch.zeros(len(self.part), dtype=torch.float64, device=policy.device, requires_grad=True)
            with torch.enable_grad(), tangent.at(epsilon):
                forced = policy.teacher_force(self.part, self.ranks)
            plain = _uncovered_direction(tangent)
            # Where no hook covers a parameter (adapters of experts' parameters alone), the graph does not hold epsilon.
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
    """Expected number of a prompt's G responses that leave the likeliest path, ``[P]`` float64.

    For each response this is the sum of 1 - max_u pi(u) over its tokens up to and including its first surprise, the
    first token that is not the likeliest one.  The sum is the compensator of the event "the response has a surprise":
    it has the same expectation as the event's indicator, and depends little on whether the event happened.  Tokens
    after the first surprise do not count, because responses are independent and tokens are not.

    Args:
        forced: the scoring pass of ``part``.
        part: P prompts x G responses.

    Returns:
        ``[P]``; NaN where the scoring pass does not hold the probability of the likeliest token.
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


def _uncovered_direction(tangent: Tangent) -> dict[str, torch.Tensor]:
    """The tensors of the direction whose parameters no hook has covered, by live parameter name."""
    return {name: tangent.direction[name] for name in tangent.uncovered()}


def _by_plain_backward(
    policy: Policy, part: Rollouts, weights: Weights, direction: Mapping[str, torch.Tensor]
) -> np.ndarray:
    """<X_n, u> over the parameters that hooks cannot cover, by one backward per prompt (slow)."""
    parameters = {name: policy.trainable[name] for name in direction}
    out = np.zeros(len(part))
    for n in range(len(part)):
        one = part.select([n])
        prompt_weights = weights.select(n, one.tokens.shape[2])
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                forced = policy.teacher_force(one)
                surrogate = prompt_weights.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
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
