"""Check that a model can be probed: a row's probabilities must not depend on padding, other rows or the cache.

The check runs the model and knows no architecture by name.  Recurrent and hybrid models, whose state runs through
padding, and models that count positions from the first column fail it before anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_entropy.errors import UsageError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.oracles.rounding_noise import is_coarse, token_noise

_PROMPTS = ((5,), (7, 3, 9, 4))
_RESPONSE = (6, 8, 3)
# Nats; rounding of a deep model in float32 stays far below, a wrong position or a lost state gives order one.
TOLERANCE, ROUNDINGS = 0.05, 64
# Of the measured noise, where weights are coarser than float32.
NOISES = 6


def require_separate_rows(policy: Policy, name: str) -> None:
    """Reject a model whose log-probabilities of two rows, padded and with a shared cache, differ from each row's alone.

    Args:
        policy: freshly loaded, in eval mode.
        name: what messages call the model.

    Raises:
        UsageError: the forward pass fails, its probabilities are not finite, or the two differ by more than rounding.
    """
    size = next(policy.model.get_input_embeddings().parameters()).shape[0]
    if size <= max(*_PROMPTS[1], *_RESPONSE) or (policy.positions or 16) < 8:
        return
    try:
        with torch.no_grad():
            together = policy.teacher_force(_rollouts()).log_probs
            alone = torch.stack([_alone(policy, prompt) for prompt in _PROMPTS])
    except Exception as error:
        # A model's own code may raise any kind of exception.
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise UsageError(
            f"{name}: the model cannot be run on padded prompts with a shared cache ({reason}); {_WHICH}"
        ) from error
    if not bool(torch.isfinite(alone).all()):
        raise UsageError(
            f"{name}: the model's probabilities are not finite although its weights are; a number in its config.json "
            "or adapter_config.json is wrong"
        )
    gap = float((together[:, 0] - alone.to(together.dtype)).abs().max())
    if not gap <= _tolerance(policy):
        raise UsageError(
            f"{name}: the model gives other probabilities for a padded row with a shared cache than for the row alone "
            f"(by {gap:.2g} nats): padding or neighbours leak into it; {_WHICH}"
        )


def _tolerance(policy: Policy) -> float:
    """The largest difference, in nats, that rounding explains; measured where weights are coarser than float32."""
    most = ROUNDINGS * policy.rounding
    if not is_coarse(policy):
        return TOLERANCE + most
    noise = max(max(token_noise(policy, _rollouts(), n).values()) for n in range(len(_PROMPTS)))
    return TOLERANCE + min(most, NOISES * noise)


_WHICH = "causal models of attention layers are supported, recurrent and hybrid ones are not"


def _rollouts() -> Rollouts:
    """The response after both prompts, as the probe's batch."""
    tokens = torch.tensor(_RESPONSE).expand(len(_PROMPTS), 1, -1).clone()
    zero = torch.zeros(tokens.shape)
    lengths = torch.full(tokens.shape[:2], len(_RESPONSE))
    return Rollouts(_PROMPTS, tokens, lengths, torch.zeros(tokens.shape[:2], dtype=torch.bool), zero, zero)


def _alone(policy: Policy, prompt: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of the response after one prompt, by one plain forward pass."""
    ids = torch.tensor([[*prompt, *_RESPONSE]], device=policy.device)
    logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    log_p = torch.log_softmax(logits.to(policy.dtype) / policy.temperature, dim=-1)
    return log_p.gather(-1, ids[0, len(prompt) :, None])[:, 0]
