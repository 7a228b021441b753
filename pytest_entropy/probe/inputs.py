"""The inputs of a probe (policy and optimizer state), and the choice of its learning rate."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pytest_entropy.errors import RunError
from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.policy.policy import Policy
from pytest_entropy.records.second_reading import SecondReading


class ProbeInputs(Protocol):
    """A policy with its optimizer's state and stored learning rate, such as ``checkpoints.Checkpoint``."""

    @property
    def policy(self) -> Policy: ...

    @property
    def optimizer(self) -> AdamWState: ...

    @property
    def learning_rate(self) -> float | None: ...

    @property
    def learning_rate_source(self) -> str: ...


@runtime_checkable
class ReadAgain(Protocol):
    """Inputs that were loaded from files, and that compare what is in use with a second reading of them."""

    def read_again(self, policy: Policy, optimizer: AdamWState) -> SecondReading:
        """The discrepancies between the files and what is in use.

        Args:
            policy: the policy in use.
            optimizer: the optimizer's state in use.
        """
        ...


# The second reading of inputs without files.
NO_FILES = SecondReading(
    unread=dict.fromkeys(
        ("optimizer_scalars", "moments", "weights", "adapter_scaling", "end_tokens", "scores", "base_weights"),
        "policy and optimizer state were not loaded from files",
    )
)


def learning_rate(configured: float | None, inputs: ProbeInputs) -> tuple[float, str]:
    """(eta, where it comes from): the configured learning rate, else the checkpoint's (docs/mathematics.md §2).

    Args:
        configured: the configured learning rate, or None.
        inputs: hold the checkpoint's learning rate and its source.

    Raises:
        RunError: neither is there, or the checkpoint's is 0.
    """
    if configured is not None:
        return configured, "configuration"
    if not inputs.learning_rate:
        raise RunError(
            "the checkpoint stores no usable learning rate (a finished schedule leaves 0.0); "
            "say what the next step's rate is with --learning-rate"
        )
    return inputs.learning_rate, inputs.learning_rate_source
