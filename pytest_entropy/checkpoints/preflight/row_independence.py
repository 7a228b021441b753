"""Find out how a model can be probed: a row's probabilities must not depend on padding, other rows or the cache.

The model is run, and no architecture is known by name.  Models whose state runs through padding (recurrent and hybrid
ones), or that count positions from the first column, take prompts of one length at a time, without padding and without
a shared cache.  What fails then, too, is refused before anything is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from pytest_entropy.errors import UsageError
from pytest_entropy.policy.kv_cache import is_cache, is_recurrent
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.prefill import prefill
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.oracles.rounding_noise import is_coarse, token_noise

log = logging.getLogger(__name__)
_PROMPTS = ((5,), (7, 3, 9, 4))
_RESPONSE = (6, 8, 3)
# Nats; rounding of a deep model in float32 stays far below, a wrong position or a lost state gives order one.
TOLERANCE, ROUNDINGS = 0.05, 64
# Of the measured noise, where weights are coarser than float32.
NOISES = 6


def with_separate_rows(policy: Policy, name: str) -> Policy:
    """The policy in the form in which each row's log-probabilities are those of the row alone.

    Args:
        policy: freshly loaded, in eval mode.
        name: what messages call the model.

    Raises:
        UsageError: the forward pass fails, its probabilities are not finite, or the two differ by more than rounding.
    """
    size = next(policy.model.get_input_embeddings().parameters()).shape[0]
    if size <= max(*_PROMPTS[1], *_RESPONSE) or (policy.positions or 16) < 8:
        return policy
    if (first := _fault(policy, name)) is None:
        return replace(policy, share_prompt=False) if _writes_into_cache(policy) else policy
    unpadded = replace(policy, pads=False, share_prompt=False)
    if (second := _fault(unpadded, name)) is not None:
        raise UsageError(f"{name}: the model {first}, and {second}: {_WHICH}")
    log.info("prompts of one length are computed together, without padding and a shared cache: the model %s", first)
    return unpadded


@torch.no_grad()
def _writes_into_cache(policy: Policy) -> bool:
    """Whether a prompt's cache cannot be shared under gradients.

    States of recurrent layers are overwritten, and backward needs them as they were; and hooks differentiate a layer of
    its own trainable weights once more, which must not write into a cache again.
    """
    trainable = {id(parameter) for parameter in policy.trainable.values()}
    found: list[bool] = []

    def look(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = any(map(is_cache, (*args, *kwargs.values())))
        own = any(id(parameter) in trainable for parameter in module._parameters.values())
        found.append(given and own and isinstance(output, torch.Tensor))

    handles = [module.register_forward_hook(look, with_kwargs=True) for module in policy.model.modules()]
    try:
        cache = prefill(policy, _PROMPTS[:1])[1]
    finally:
        for handle in handles:
            handle.remove()
    return any(found) or any(map(is_recurrent, cache.layers))


def _fault(policy: Policy, name: str) -> str | None:
    """What a pass over several rows does wrong, in words; None where its rows are those alone.

    Raises:
        UsageError: the probabilities of a row alone are not finite.
    """
    how = "padded rows with a shared cache" if policy.pads else "rows of one length, token by token"
    try:
        with torch.no_grad():
            finite = [bool(torch.isfinite(_alone(policy, prompt, _RESPONSE)).all()) for prompt in _PROMPTS]
            rows = _rollouts() if policy.pads or not all(finite) else _sampled(policy)
            # Twice: some models keep the state of a pass and begin the next one with it.
            passes = [policy.teacher_force(rows).log_probs for _ in range(2)]
            alone = [_alone(policy, prompt, rows.responses(n)[0]) for n, prompt in enumerate(_PROMPTS)]
    except Exception as error:
        # A model's own code may raise any kind of exception.
        return f"cannot be run on {how} ({type(error).__name__}: {str(error)[:200]})"
    if not all(finite):
        raise UsageError(
            f"{name}: the model's probabilities are not finite although its weights are; a number in its config.json "
            "or adapter_config.json is wrong"
        )
    ways = passes if policy.pads else [*passes, rows.log_probs]
    pairs = [(way[n, 0, : len(row)], row) for way in ways for n, row in enumerate(alone)]
    gap = max(float((found - row.to(found.dtype)).abs().max()) for found, row in pairs)
    if not gap <= _tolerance(policy):
        return f"gives other probabilities for {how} than for a row alone (by {gap:.2g} nats)"
    return None


def _tolerance(policy: Policy) -> float:
    """The largest difference, in nats, that rounding explains; measured where weights are coarser than float32."""
    most = ROUNDINGS * policy.rounding
    if not is_coarse(policy):
        return TOLERANCE + most
    noise = max(max(token_noise(policy, _rollouts(), n).values()) for n in range(len(_PROMPTS)))
    return TOLERANCE + min(most, NOISES * noise)


_WHICH = "padding, neighbours or the cache change its rows, so that no batch of them can be measured"


def _rollouts() -> Rollouts:
    """The response after both prompts, as the probe's batch."""
    tokens = torch.tensor(_RESPONSE).expand(len(_PROMPTS), 1, -1).clone()
    zero = torch.zeros(tokens.shape)
    lengths = torch.full(tokens.shape[:2], len(_RESPONSE))
    return Rollouts(_PROMPTS, tokens, lengths, torch.zeros(tokens.shape[:2], dtype=torch.bool), zero, zero)


def _sampled(policy: Policy) -> Rollouts:
    """Two responses to each prompt, as the sampler draws them."""
    uniforms = torch.linspace(0.1, 0.9, len(_PROMPTS) * 2 * len(_RESPONSE), dtype=torch.float64)
    return policy.sample(_PROMPTS, uniforms.reshape(len(_PROMPTS), 2, -1))


def _alone(policy: Policy, prompt: Sequence[int], response: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of a response after one prompt, by one plain forward pass."""
    ids = torch.tensor([[*prompt, *response]], device=policy.device)
    logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    log_p = torch.log_softmax(logits.to(policy.dtype) / policy.temperature, dim=-1)
    return log_p.gather(-1, ids[0, len(prompt) :, None])[:, 0]
