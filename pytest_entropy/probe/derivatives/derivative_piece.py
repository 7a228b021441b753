"""s_n = <X_n, u> for some of a batch's prompts: one of the pieces that :mod:`.directional` cuts a batch into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pytest_entropy.policy.equal_responses import EqualResponses
from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.attached import attached
from pytest_entropy.probe.derivatives.by_rows import add_to, fewer, in_turn, rows_within, scored_in_turn
from pytest_entropy.probe.derivatives.tangent import Tangent
from pytest_entropy.probe.derivatives.turns import turns_of
from pytest_entropy.probe.estimators import Weights, weights_for


@dataclass(frozen=True)
class PieceDerivatives:
    """The result of a piece with p prompts.

    Attributes:
        per_prompt: <X_n, u> ``[K, p]`` float64 by estimator name, for K directions u, in nats per unit of eta.
        forced: the scoring pass, tables ``[p, G, L]`` on the CPU.
        first_surprises: ``[p]``, of :func:`expected_first_surprises`.
        gradient: sum_n X_n of the estimator ``gradient_of`` by live parameter name, without DoRA's correction; else
            empty.
    """

    per_prompt: dict[str, np.ndarray]
    forced: TeacherForced
    first_surprises: np.ndarray
    gradient: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, part: PieceDerivatives) -> None:
        """Add the derivatives and gradients of some of the prompts' responses.

        Args:
            part: the derivatives of these responses' share of the surrogates.
        """
        for name, values in part.per_prompt.items():
            self.per_prompt[name] = self.per_prompt.get(name, np.zeros_like(values)) + values
        add_to(self.gradient, part.gradient)


@dataclass(frozen=True)
class DerivativePiece:
    """A request for the directional derivatives of p prompts.

    Attributes:
        part: the prompts' rollouts, p prompts x G responses.
        directions: K directions u by live parameter name; all pieces of a batch share them.
        estimators: names of estimators.
        sequence_weights: instead of estimators, weights ``[p, G]`` by name of surrogates sum_g w_ng S_ng.
        ranks: uniform numbers ``[p, G, L]`` for surprisal ranks; None if no ranks are wanted.
        gradient_of: name of the estimator whose sum_n X_n is wanted as a vector from the same backward; None for none.
        tokens: token budget of a piece; None for none.
        rows: number of responses to a prompt that are computed at once; None for all.
        equal: which of the responses are equal, and computed once; None where each is computed by itself.
    """

    part: Rollouts
    directions: tuple[Mapping[str, torch.Tensor], ...]
    estimators: tuple[str, ...] = ()
    sequence_weights: Mapping[str, torch.Tensor] | None = None
    ranks: torch.Tensor | None = None
    gradient_of: str | None = None
    tokens: int | None = None
    rows: int | None = None
    equal: EqualResponses | None = None

    def select(self, indices: Sequence[int]) -> DerivativePiece:
        """The request for some of the prompts, with as many responses at once as the budget of tokens allows."""
        chosen, part = list(indices), self.part.select(indices)
        weights, ranks, equal = self.sequence_weights, self.ranks, self.equal
        return replace(
            self,
            part=part,
            sequence_weights=None if weights is None else {name: w[chosen] for name, w in weights.items()},
            ranks=None if ranks is None else ranks[chosen, :, : part.tokens.shape[2]],
            rows=None if self.tokens is None else rows_within(part, self.tokens),
            equal=None if equal is None else equal.select(chosen),
        )

    def compute(self, policy: Policy) -> PieceDerivatives:
        """Compute <X_n, u> ``[K, p]`` by one scoring pass and one backward by K epsilons for each estimator.

        With ``rows`` set there is such a pass for every so many responses, and a scoring pass without gradients before.
        """
        group, names = self.part.group_size, [*self.estimators, *(self.sequence_weights or {})]
        with attached(
            policy, self.directions, slope=bool(self.estimators), gradients=self.gradient_of is not None
        ) as tangents:
            if self.rows is None or self.rows >= (max(self.equal.distinct) if self.equal else group):
                return self._differentiated(policy, tangents, self.part, dict.fromkeys(names), self.ranks, self.equal)
            with turns_of(policy.model).one_pass():
                forced = scored_in_turn(policy, self.part, self.rows, self.ranks)
            weights = {name: self._surrogate(name, forced, policy) for name in names}
            total = PieceDerivatives({}, _detached(forced), expected_first_surprises(forced, self.part))
            for first, last in in_turn(group, self.rows):
                some = self.part.responses_between(first, last)
                own = {name: w.responses_between(first, last, some.tokens.shape[2]) for name, w in weights.items()}
                total.add(self._differentiated(policy, tangents, some, own, None))
            return total

    def lesser(self) -> DerivativePiece | None:
        """The same request computed half as many responses at a time; None where it is one already."""
        rows = fewer(self.rows, self.part.group_size)
        return None if rows is None else replace(self, rows=rows)

    def _differentiated(
        self,
        policy: Policy,
        tangents: Sequence[Tangent],
        part: Rollouts,
        weights: Mapping[str, Weights | None],
        ranks: torch.Tensor | None,
        equal: EqualResponses | None = None,
    ) -> PieceDerivatives:
        """One scoring pass of ``part``, and one backward for each name; weights that are None are those of the pass."""
        p, turns = len(part), turns_of(policy.model)
        epsilons = [torch.zeros(p, dtype=torch.float64, device=policy.device, requires_grad=True) for _ in tangents]
        with turns.one_pass(), torch.enable_grad(), _moved(tangents, epsilons):
            forced = policy.teacher_force(part, ranks) if equal is None else equal.scored(policy, part, ranks)
        plain = [_uncovered_direction(tangent) for tangent in tangents]
        # Where no hook covers a parameter (adapters of experts' parameters alone), the graph holds no epsilon.
        hooked = any(len(left) < len(t.direction) for left, t in zip(plain, tangents, strict=True))
        per_prompt: dict[str, np.ndarray] = {}
        gradient: dict[str, torch.Tensor] = {}
        for position, (name, given) in enumerate(weights.items()):
            own = self._surrogate(name, forced, policy) if given is None else given
            per_prompt[name] = np.zeros((len(tangents), p))
            parameters = policy.trainable if name == self.gradient_of else {}
            if hooked or parameters:
                keep = position + 1 < len(weights) or any(plain)
                with turns.one_pass():
                    along, vector = _derivative(own, forced, epsilons if hooked else [], parameters, keep=keep)
                per_prompt[name] += along
                gradient |= vector
            if any(plain):
                with turns.change():
                    per_prompt[name] += _by_plain_backward(policy, part, own, plain)
        return PieceDerivatives(per_prompt, _detached(forced), expected_first_surprises(forced, part), gradient)

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


@contextmanager
def _moved(tangents: Sequence[Tangent], epsilons: Sequence[torch.Tensor]) -> Iterator[None]:
    """A block in which the forward pass depends on each direction's epsilon."""
    with ExitStack() as stack:
        for tangent, epsilon in zip(tangents, epsilons, strict=True):
            stack.enter_context(tangent.at(epsilon))
        yield


def _derivative(
    weights: Weights,
    forced: TeacherForced,
    epsilons: Sequence[torch.Tensor],
    parameters: Mapping[str, torch.Tensor],
    *,
    keep: bool,
) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """The surrogate's derivatives by each prompt's epsilon ``[K, p]``, and by the parameters, from one backward."""
    surrogate = weights.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
    grads = torch.autograd.grad(
        surrogate, [*epsilons, *parameters.values()], retain_graph=keep, materialize_grads=bool(parameters)
    )
    along = [grad.cpu().numpy() for grad in grads[: len(epsilons)]]
    return np.stack(along) if along else np.zeros(()), dict(zip(parameters, grads[len(epsilons) :], strict=True))


def _uncovered_direction(tangent: Tangent) -> dict[str, torch.Tensor]:
    """The tensors of the direction whose parameters no hook has covered, by live parameter name."""
    return {name: tangent.direction[name] for name in tangent.uncovered()}


def _by_plain_backward(
    policy: Policy, part: Rollouts, weights: Weights, directions: Sequence[Mapping[str, torch.Tensor]]
) -> np.ndarray:
    """<X_n, u> ``[K, p]`` over the parameters that hooks cannot cover, by one backward per prompt (slow).

    No other pass of the model may run meanwhile (:mod:`.turns`).
    """
    parameters = {name: policy.trainable[name] for direction in directions for name in direction}
    frozen = [parameter for parameter in parameters.values() if not parameter.requires_grad]
    out = np.zeros((len(directions), len(part)))
    for n in range(len(part)):
        one = part.select([n])
        prompt_weights = weights.select(n, one.tokens.shape[2])
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                forced = policy.teacher_force(one)
                surrogate = prompt_weights.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
                grads = torch.autograd.grad(surrogate, list(parameters.values()), allow_unused=True)
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
        reached = {name: g.double() for name, g in zip(parameters, grads, strict=True) if g is not None}
        for k, direction in enumerate(directions):
            out[k, n] = sum(float((g * direction[name].double()).sum()) for name, g in reached.items())
    return out


def _detached(forced: TeacherForced) -> TeacherForced:
    def cpu(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x.detach().cpu()

    return TeacherForced(
        forced.log_probs.detach().cpu(), forced.entropies.detach().cpu(), cpu(forced.ranks), cpu(forced.surprisal_sd)
    )
