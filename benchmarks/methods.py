"""Other ways to the same numbers s_n = <X_n, u>: what the probe's one backward by hooks is compared with.

All take the rollouts of P prompts, a direction by live parameter name and an estimator that needs nothing from
other prompts, and give ``[P]`` float64.  ``tests/unit/benchmarks/test_methods.py`` holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.prefill import left_padded
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.teacher_forcing import logits_shared, padded_tokens
from pytest_entropy.probe.estimators import get_estimator, weights_for
from pytest_entropy.probe.pieces import one_thread_per_operation, scoring_chunks

Direction = Mapping[str, torch.Tensor]


def per_prompt_backward(policy: Policy, rollouts: Rollouts, direction: Direction, estimator: str) -> np.ndarray:
    """One forward and one backward per prompt; its gradient vector is formed and dotted with u."""
    return np.array([dot(g, direction) for g in per_prompt_gradients(policy, rollouts, direction, estimator)])


def per_prompt_gradients(
    policy: Policy, rollouts: Rollouts, direction: Direction, estimator: str
) -> Iterator[dict[str, torch.Tensor]]:
    """X_n of one prompt after the other, by live parameter name, on the CPU; prompts are computed G times."""
    parameters = [policy.trainable[name] for name in direction]
    unshared = Policy(policy.model, policy.tokenizer, policy.trainable, policy.eos_ids, policy.temperature, False)
    for n in range(len(rollouts)):
        one = rollouts.select([n])
        with torch.enable_grad():
            scores = unshared.teacher_force(one)
            surrogate = weights_for(estimator, scores, one).surrogate(scores.log_probs, scores.entropies)
            grads = torch.autograd.grad(surrogate, parameters)
        yield {name: g.cpu() for name, g in zip(direction, grads, strict=True)}


def dot(gradient: Direction, direction: Direction) -> float:
    """Inner product over all parameters, in float64."""
    return sum(float((g.double() * direction[name].double()).sum()) for name, g in gradient.items())


def vmap_of_grad(
    policy: Policy, rollouts: Rollouts, direction: Direction, estimator: str, *, chunk_tokens: int = 4096
) -> np.ndarray:
    """``torch.func``: per-prompt gradient vectors of a whole piece at once, each dotted with u."""
    moving = {name: policy.trainable[name].detach() for name in direction}

    def surrogate(
        parameters: dict[str, torch.Tensor],
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        tokens: torch.Tensor,
        alive: torch.Tensor,
    ) -> torch.Tensor:
        length = tokens.shape[-1]
        options = {"attention_mask": mask, "position_ids": positions, "use_cache": False, "logits_to_keep": length + 1}
        logits = functional_call(policy.model, parameters, (ids,), options).logits[:, :-1]
        scores = plain_statistics(logits, tokens, alive, policy.temperature)
        weights = get_estimator(estimator).weights(scores.log_probs[None], scores.entropies[None], alive[None], None)
        return weights.surrogate(scores.log_probs[None], scores.entropies[None])

    def work(indices: list[int]) -> np.ndarray:
        part = rollouts.select(indices)
        gradient = vmap(grad(surrogate), in_dims=(None, 0, 0, 0, 0, 0))
        with sdpa_kernel(SDPBackend.MATH):
            out = gradient(moving, *_full_sequences(policy, part), part.mask)
        along = [(g.double() * direction[name]).flatten(1).sum(1) for name, g in out.items()]
        return torch.stack(along).sum(0).numpy()

    return _assembled(rollouts, chunk_tokens, work)


def _full_sequences(policy: Policy, part: Rollouts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids ``[P, G, T]``, positions, additive attention mask ``[P, G, 1, T, T]``, response tokens ``[P, G, L]``)."""
    tokens = torch.where(part.mask, part.tokens, 0)
    prompts, group, length = tokens.shape
    ids, kept = left_padded(policy, part.prompt_ids)
    ids = torch.cat([ids[:, None].expand(-1, group, -1), tokens], dim=-1)
    kept = torch.cat([kept, kept.new_ones(prompts, length)], dim=-1)
    positions = (kept.cumsum(-1) - 1).clamp(min=0)[:, None].expand(-1, group, -1)
    size = kept.shape[-1]
    seen = torch.ones(size, size, dtype=torch.bool).tril() & kept.bool()[:, None]
    # A padding position sees itself, so that its softmax has a term.
    seen = seen | torch.eye(size, dtype=torch.bool)
    dtype = policy.model.dtype
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    mask = mask[:, None, None].expand(-1, group, -1, -1, -1)
    return ids, positions, mask, tokens


def plain_statistics(
    logits: torch.Tensor, tokens: torch.Tensor, alive: torch.Tensor, temperature: float
) -> TeacherForced:
    """log pi(t_k) and H_k by plain operations, which every transform of ``torch.func`` knows."""
    log_p = torch.log_softmax(logits / temperature, dim=-1)
    own = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return TeacherForced(own * alive, -(log_p.exp() * log_p).sum(-1) * alive)


def forward_mode(
    policy: Policy, rollouts: Rollouts, direction: Direction, estimator: str, *, chunk_tokens: int = 4096
) -> np.ndarray:
    """Forward-mode differentiation of the shared scoring pass: one pass, no graph, no backward."""

    def work(indices: list[int]) -> np.ndarray:
        part = rollouts.select(indices)
        scores, slope = token_tangents(policy, part, direction)
        weights = weights_for(estimator, scores, part)
        total = weights.log_prob * slope.log_probs.double()
        if weights.entropy is not None:
            total = total + weights.entropy * slope.entropies.double()
        return total.sum((1, 2)).numpy()

    return _assembled(rollouts, chunk_tokens, work)


def token_tangents(policy: Policy, part: Rollouts, direction: Direction) -> tuple[TeacherForced, TeacherForced]:
    """log pi(t_k) and H_k ``[P, G, L]``, and their directional derivatives along u token by token."""
    tokens = padded_tokens(policy, part)
    with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        dual = {
            "model." + name: forward_ad.make_dual(policy.trainable[name].detach(), u.to(policy.trainable[name].dtype))
            for name, u in direction.items()
        }
        logits = functional_call(_SharedLogits(policy), dual, (part, tokens))
        both = plain_statistics(logits, tokens, part.mask, policy.temperature)
        log_probs, entropies = forward_ad.unpack_dual(both.log_probs), forward_ad.unpack_dual(both.entropies)
        return TeacherForced(log_probs.primal, entropies.primal), TeacherForced(log_probs.tangent, entropies.tangent)


class _SharedLogits(torch.nn.Module):
    """The policy's scoring pass as a module, so that ``functional_call`` can exchange its parameters."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.model = policy.model
        self._policy = [policy]

    def forward(self, part: Rollouts, tokens: torch.Tensor) -> torch.Tensor:
        return logits_shared(self._policy[0], part, tokens)


def _assembled(rollouts: Rollouts, chunk_tokens: int, work: Callable[[list[int]], np.ndarray]) -> np.ndarray:
    out = np.zeros(len(rollouts))
    # Methods that are compared here stay in this process: their work is a function of the indices.
    with one_thread_per_operation():
        for indices in scoring_chunks(rollouts, chunk_tokens):
            out[indices] = work(indices)
    return out
