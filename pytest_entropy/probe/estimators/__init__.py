"""Estimators of the entropy gradient, one file each; a new file here is a new estimator (CONTRIBUTING.md)."""

from __future__ import annotations

from pytest_entropy import registry
from pytest_entropy.policy.policy import TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights

__all__ = ["Estimator", "Weights", "estimator_names", "get_estimator", "weights_for"]


def get_estimator(name: str) -> Estimator:
    """The registered estimator of that name, or the scalar for diagnostics of that name.

    Raises:
        NotRegistered: no estimator and no scalar has this name.
    """
    kind = "scalars" if name in registry.names("scalars") else "estimators"
    return registry.get(kind, name, Estimator)


def estimator_names() -> tuple[str, ...]:
    """Names of the registered estimators, followed by those of the scalars for diagnostics."""
    return (*registry.names("estimators"), *registry.names("scalars"))


def weights_for(name: str, forced: TeacherForced, part: Rollouts) -> Weights:
    """Surrogate weights ``[P, G, L]`` of a named estimator for some prompts.

    Args:
        name: of an estimator, or of a scalar for diagnostics.
        forced: the scoring pass of ``part``.
        part: P prompts x G responses, with control variate tables where the estimator learns.

    Raises:
        NotRegistered: no estimator and no scalar has this name.
        ValueError: the estimator does not allow this G.
    """
    log_probs, entropies = forced.log_probs, forced.entropies
    mask = part.mask.to(log_probs.device)
    estimator = get_estimator(name)
    expected = forced.expected_values if estimator.learns else None
    control_variate = None if expected is None else ControlVariate.of(part, expected, forced.prefix_values)
    return estimator.weights(log_probs, entropies, mask, control_variate)
