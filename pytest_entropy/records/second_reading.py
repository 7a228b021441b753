"""A second reading of a checkpoint's files, compared with the policy and the optimizer state that a run used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import MEASURED, without_nan


@dataclass(frozen=True, kw_only=True)
class SecondReading:
    """Largest discrepancies between a plain reading of the files and what is in use (``reading`` on disk).

    Each is relative, or 1 for something that is missing or of another shape; None means not read a second time.

    Attributes:
        optimizer_scalars: learning rates, betas, eps, weight decays and step counts of all parameters' states.
        moments: elements of every first and second moment.
        weights: elements of every tensor in the weights file.
        adapter_scaling: the scaling of every adapted module; 1 for a module that is not adapted, merged, or disabled.
        end_tokens: 1 if a token that the files name ends no response, or a response ends with another one.
        scores: log-probabilities of a few tokens against those of a model loaded a second time, nats, beyond rounding.
        base_weights: elements of every tensor of an adapter's frozen base.
        differing: what differs, by field, and by how much; the first few of each field.
        unread: by field, what was not read a second time, and why.
    """

    optimizer_scalars: float | None = None
    moments: float | None = None
    weights: float | None = None
    adapter_scaling: float | None = None
    end_tokens: float | None = None
    scores: float | None = None
    base_weights: float | None = None
    differing: dict[str, dict[str, float]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED

    def __post_init__(self) -> None:
        without_nan(self)
