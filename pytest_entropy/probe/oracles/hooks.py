"""Compare the hooks' directional derivative with a plain backward, once per loaded model, on one short prompt."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.merged_adapter import merged
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.by_rows import in_turn, rows_within, scored_in_turn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.estimators import weights_for
from pytest_entropy.probe.oracles.rounding_noise import is_coarse, scalar_noise, token_noise
from pytest_entropy.settings.probe import LARGEST_CHUNK

# Rounding of two float32 passes through a deep model stays far below this; a missed module gives a gap of order one.
TOLERANCE, TANGENT_ROUNDINGS = 1e-2, 32
# On some devices two passes over the same tokens in the same shape differ by the order of their sums.
REPEAT_ROUNDINGS = 64
# Of the measured noise, where weights are coarser than float32; the roundings above are the most that it may come to.
NOISES = 6


def verify_tangent(
    policy: Policy,
    rollouts: Rollouts,
    direction: Mapping[str, torch.Tensor],
    estimator: str,
    *,
    chunk_tokens: int = LARGEST_CHUNK,
) -> float:
    """Relative gap between <X_n, u> by hooks and by a plain backward without a shared prompt cache, for one prompt.

    The gap is relative to the sum over parameter tensors i of |<X_n, u>_i|, so that cancellation does not inflate it.

    Args:
        policy: the policy whose model is verified.
        rollouts: the prompt with the fewest response tokens is taken.
        direction: u by live parameter name.
        estimator: name of the estimator that defines X_n.
        chunk_tokens: token budget of a piece.

    Raises:
        RunError: two identical passes differ; or the gap exceeds rounding, because a module uses a parameter in a way
            that the hooks do not follow, or the shared prompt cache changes the model's output.
    """
    shortest = int(rollouts.lengths.sum(1).argmin())
    one = rollouts.select([shortest])
    # As a run takes it, and the plain backward by the adapter itself: so the comparison proves the merged weights too.
    with merged(policy):
        derivatives = directional_derivatives(policy, one, direction, [estimator], chunk_tokens=chunk_tokens)
    # A merged adapter has no dropout of its own.
    _require_repeatable(policy, one, scored_in_turn(policy, one, one.group_size).log_probs.cpu())
    rows = rows_within(one, chunk_tokens)
    fast = derivatives.per_prompt[estimator][0]
    expected, size = plain_backward(policy, one, direction, estimator, rows=rows)
    gap = float(abs(fast - expected) / size if size else abs(fast))
    most = TANGENT_ROUNDINGS * policy.rounding
    if is_coarse(policy):
        most = min(most, NOISES * scalar_noise(policy, one, 0, direction, estimator))
    if gap > max(TOLERANCE, most):
        raise RunError(
            f"the fast directional derivative is off by {gap:.1%} from a plain backward on this model; "
            "please report the architecture. A module uses a parameter outside its own forward, or attention "
            "over a shared prompt cache (its positions, its mask) gives other numbers than over the whole sequence"
        )
    return gap


def _require_repeatable(policy: Policy, one: Rollouts, scored: torch.Tensor) -> None:
    with torch.no_grad():
        again = policy.teacher_force(one).log_probs.cpu()
    gap, most = float((scored - again).abs().max()), REPEAT_ROUNDINGS * policy.rounding
    if gap and is_coarse(policy):
        most = min(most, NOISES * token_noise(policy, one, 0)["noise_log_probs"])
    if gap > most:
        raise RunError(
            f"two scoring passes over the same tokens differ by {gap:.2g} nats: something random is live in the "
            "model's forward pass, most likely dropout, or a layer's own memory of passes"
        )


def plain_backward(
    policy: Policy, one: Rollouts, direction: Mapping[str, torch.Tensor], estimator: str, *, rows: int | None = None
) -> tuple[float, float]:
    """(<X, u>, sum over parameter tensors i of |<X, u>_i|) of one prompt: form the gradients and dot them with u.

    Args:
        policy: the gradients are over its trainable parameters.
        one: one prompt x G responses.
        direction: u by live parameter name.
        estimator: name of the estimator that defines X.
        rows: number of responses computed at once; None for all.
    """
    plain = policy.computing(share_prompt=False)
    direction = along_slope(policy.model, direction)
    parameters = {name: policy.trainable[name] for name in direction}
    group = one.group_size
    rows = group if rows is None else rows
    weights = weights_for(estimator, scored_in_turn(plain, one, rows), one) if rows < group else None
    parts = dict.fromkeys(parameters, 0.0)
    for first, last in in_turn(group, rows):
        some = one if weights is None else one.responses_between(first, last)
        with torch.enable_grad():
            forced = plain.teacher_force(some)
            own = (
                weights_for(estimator, forced, some)
                if weights is None
                else weights.responses_between(first, last, some.tokens.shape[2])
            )
            surrogate = own.surrogate(forced.log_probs, forced.entropies, forced.expected_values)
            grads = torch.autograd.grad(surrogate, list(parameters.values()), allow_unused=True)
        for name, g in zip(parameters, grads, strict=True):
            if g is not None:
                parts[name] += float((g.double().cpu() * direction[name].double().cpu()).sum())
    return sum(parts.values()), sum(map(abs, parts.values()))
