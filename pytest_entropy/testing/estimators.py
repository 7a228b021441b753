"""Conformance of an estimator: unbiased by exact enumeration, and equal to its definition in plain loops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.estimators.base import Estimator, Weights
from pytest_entropy.probe.oracles.loops import OnePrompt, Table, Taught, contexts_of
from pytest_entropy.testing import enumerable

# Rounding of float64 over some thousand terms stays far below.
TOLERANCE = 1e-9
# Qwen2's norms work in float32 whatever the weights; a bias of a millionth would not be seen in any measurement.
MEAN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class _Everything:
    """Every response to one prompt, R of them: log pi(t_k) and H_k ``[R, L]`` in nats, token ids and mask ``[R, L]``,
    all next-token probabilities ``[R, L, V]``, pi(response) ``[R]``, float64, differentiable; contexts ``[R][L]``, and
    the action values of all tokens in them ``[R, L, V]``, 0 where nothing is taught."""

    log_probs: torch.Tensor
    entropies: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor
    p: torch.Tensor
    weight: torch.Tensor
    contexts: list[list[int]]
    q: torch.Tensor

    @property
    def expected(self) -> torch.Tensor:
        """sum_u q(c_k, u) pi(u), ``[R, L]`` nats."""
        return (self.p * self.q).sum(-1) * self.mask


def check_estimator(name: str) -> None:
    """Check an estimator, or another scalar per prompt, of that name on the enumerable policy.

    Its weights must be those of its ``definition`` for groups of two and of three responses, with and without what
    another batch taught where it learns; and the exact expectation of X_n over all pairs of responses must be the
    gradient that its ``mean`` says: of the entropy, of the mean response length, or zero.

    Raises:
        AssertionError: says which of these does not hold, and by how much.
        NotRegistered: no estimator has this name.
    """
    estimator = get_estimator(name)
    policy = enumerable.policy()
    prompt = enumerable.PROMPTS[0]
    learnt = (_taught(), replace(_taught(), cleans=False), replace(_taught(), share=0.6))
    for taught in (None, *learnt) if estimator.learns else (None,):
        every = _enumerate(policy, prompt, taught)
        for group in (2, 3):
            _require_definition(name, estimator, every, group, taught)
        _require_mean(name, estimator, policy, prompt, every, taught)


def _enumerate(policy: Policy, prompt: list[int], taught: Taught | None) -> _Everything:
    responses = list(enumerable.responses())
    mask = torch.tensor([[k < len(response) for k in range(enumerable.LIMIT)] for response in responses])
    # What follows a response's end is padding, which a causal model does not look at from before it.
    tokens = torch.tensor([response + [0] * (enumerable.LIMIT - len(response)) for response in responses])
    ids = torch.cat([torch.tensor(prompt).expand(len(responses), -1), tokens], 1)
    logits = policy.model(input_ids=ids).logits[:, len(prompt) - 1 : -1].double() / policy.temperature
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    own = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) * mask
    weight = own.sum(-1).exp()
    assert abs(float(weight.detach().sum()) - 1) < TOLERANCE
    recorded = own.detach().tolist()
    contexts = [contexts_of(ids, row[: len(ids)]) for ids, row in zip(responses, recorded, strict=True)]
    q = torch.zeros_like(p.detach())
    if taught is not None:
        for r, row in enumerate(contexts):
            for k, values in enumerate(map(taught.values_in, row)):
                q[r, k] = torch.tensor([values.of(u) for u in range(enumerable.VOCABULARY)], dtype=torch.float64)
    return _Everything(own, -(p * log_p).sum(-1) * mask, tokens, mask, p, weight, contexts, q)


def _taught() -> Taught:
    """Tables that stand for what another batch taught; whatever stands in them, the mean must stay."""
    position = [0.9 - 0.3 * k for k in range(enumerable.LIMIT)]
    token = [0.4 * (-1) ** u / (1 + u) for u in range(enumerable.VOCABULARY - 1)]
    # No pairs in the context of token 1, and none with the last token.
    pairs = {
        c: {u: 0.5 * (-1) ** (c + u) / (2 + c + u) for u in range(enumerable.VOCABULARY - 1)}
        for c in range(-1, enumerable.VOCABULARY)
        if c != 1
    }
    return Taught(position, token, pairs)


def _weights(estimator: Estimator, every: _Everything, groups: torch.Tensor, taught: Taught | None) -> Weights:
    """The estimator's weights ``[P, G, L]`` for P groups of G responses, given as numbers ``[P, G]``."""
    control_variate = None
    if taught is not None:
        own = every.q.gather(-1, every.tokens.unsqueeze(-1)).squeeze(-1)[groups]
        position = torch.tensor(taught.position, dtype=torch.float64)
        numbers = (torch.tensor(float(x), dtype=torch.float64) for x in (taught.cleans, taught.share))
        baseline = position + _prefix_values(every)[groups]
        control_variate = ControlVariate(baseline, own, every.expected.detach()[groups], *numbers)
    log_probs, entropies = every.log_probs.detach()[groups], every.entropies.detach()[groups]
    return estimator.weights(log_probs, entropies, every.mask[groups], control_variate)


def _prefix_values(every: _Everything) -> torch.Tensor:
    """Values ``[R, L]`` of the tokens' prefixes, whatever they are: of the sum of the tokens before."""
    before = every.tokens.cumsum(-1) - every.tokens
    return 0.7 * torch.sin(1.3 * before.double())


def _require_definition(name: str, estimator: Estimator, every: _Everything, group: int, taught: Taught | None) -> None:
    generator = torch.Generator().manual_seed(group)
    groups = torch.randint(len(every.weight), (40, group), generator=generator)
    weights = _weights(estimator, every, groups, taught)
    nothing = torch.zeros_like(weights.log_prob)
    expected_value = nothing if weights.expected_value is None else weights.expected_value
    for n, members in enumerate(groups.tolist()):
        prompt = OnePrompt(
            _rows(every.log_probs, every, members),
            _rows(every.entropies, every, members),
            [every.tokens[r][every.mask[r]].tolist() for r in members],
            taught,
            [every.contexts[r] for r in members],
            _rows(every.expected, every, members),
            _rows(_prefix_values(every), every, members),
        )
        defined = estimator.definition(prompt)
        shares = defined.expected_value or [[0.0] * len(row) for row in prompt.log_probs]
        for what, table, tensor in (
            ("log pi(t_k)", defined.log_prob, weights.log_prob),
            ("H_k", defined.entropy, nothing if weights.entropy is None else weights.entropy),
            ("sum_u q_k(u) pi(u)", shares, expected_value),
        ):
            gap = float((tensor[n].double() - _padded(table)).abs().max())
            assert gap <= TOLERANCE, (
                f"estimator {name}: for G = {group} its weights of {what} differ from its definition's by {gap:.2g}"
            )


def _rows(values: torch.Tensor, every: _Everything, members: list[int]) -> Table:
    return [values[r][every.mask[r]].tolist() for r in members]


def _padded(table: Table) -> torch.Tensor:
    return torch.tensor([row + [0.0] * (enumerable.LIMIT - len(row)) for row in table], dtype=torch.float64)


def _require_mean(
    name: str, estimator: Estimator, policy: Policy, prompt: list[int], every: _Everything, taught: Taught | None
) -> None:
    expected: torch.Tensor | None = None
    if estimator.mean == "entropy":
        expected = enumerable.expectation(policy, prompt, lambda _, log_pi: -log_pi)
    elif estimator.mean == "length":
        expected = enumerable.expectation(policy, prompt, lambda response, _: len(response))
    elif estimator.mean != "zero":
        return
    pairs = torch.cartesian_prod(*[torch.arange(len(every.weight))] * 2)
    chance = every.weight.detach()[pairs].prod(1)
    weights = _weights(estimator, every, pairs, taught).scaled(chance)
    surrogate = weights.surrogate(every.log_probs[pairs], every.entropies[pairs], every.expected[pairs])
    found = enumerable.gradient(policy, surrogate)
    wanted = {n: torch.zeros_like(g) for n, g in found.items()}
    if expected is not None:
        wanted = enumerable.gradient(policy, expected)
    size = max(float(g.abs().max()) for g in wanted.values()) or 1.0
    gap = max(float((found[n] - wanted[n]).abs().max()) for n in found) / size
    assert gap <= MEAN_TOLERANCE, (
        f"estimator {name}: the expectation of X_n over all pairs of responses differs from the gradient of its mean "
        f"({estimator.mean}) by {gap:.2g} of it"
    )
