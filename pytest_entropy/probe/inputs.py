"""What a probe is put on, and the learning rate that goes with it."""

from __future__ import annotations

from typing import Protocol

from pytest_entropy.errors import RunError
from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.policy.policy import Policy


class ProbeInputs(Protocol):
    """What is probed: a policy, its optimizer's state, and defaults (see ``checkpoints.Checkpoint``)."""

    @property
    def policy(self) -> Policy: ...

    @property
    def optimizer(self) -> AdamWState: ...

    @property
    def learning_rate(self) -> float | None: ...

    @property
    def learning_rate_source(self) -> str: ...


def learning_rate(configured: float | None, inputs: ProbeInputs) -> tuple[float, str]:
    """(eta, where it comes from): as configured, else the checkpoint's.

    Raises:
        RunError: neither gives a usable one.
    """
    if configured is not None:
        return configured, "configuration"
    if not inputs.learning_rate:
        raise RunError(
            "the checkpoint stores no usable learning rate (a finished schedule leaves 0.0); "
            "say what the next step's rate is with --learning-rate"
        )
    return inputs.learning_rate, inputs.learning_rate_source
