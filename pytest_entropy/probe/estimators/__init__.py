"""Estimators of the entropy gradient, one file each; a new file here is a new estimator (CONTRIBUTING.md)."""

from __future__ import annotations

from pytest_entropy import registry
from pytest_entropy.policy.policy import TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators.base import Estimator, Weights

__all__ = ["Estimator", "Weights", "estimator_names", "get_estimator", "weights_for"]


def get_estimator(name: str) -> Estimator:
    """The estimator of that name, or the scalar that only diagnostics take.

    Raises:
        NotRegistered: neither has this name.
    """
    kind = "scalars" if name in registry.names("scalars") else "estimators"
    return registry.get(kind, name, Estimator)


def estimator_names() -> tuple[str, ...]:
    """Names of estimators, and then of the scalars that only diagnostics take."""
    return (*registry.names("estimators"), *registry.names("scalars"))


def weights_for(name: str, forced: TeacherForced, part: Rollouts) -> Weights:
    """The named estimator's weights for the prompts of ``part``, scored.

    Raises:
        NotRegistered: no such estimator.
        ValueError: an estimator that cannot work with this G.
    """
    log_probs, entropies = forced.log_probs, forced.entropies
    mask = part.mask.to(log_probs.device)
    estimator = get_estimator(name)
    taught = estimator.learns and part.control_variate is not None
    return estimator.weights(log_probs, entropies, mask, ControlVariate.of(part, log_probs.device) if taught else None)
