"""A baseline file: what a comparison needs of stored experiments, under the keys that their own records have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import STRICT, Stored, plain
from pytest_entropy.records.update import UpdateRecord


@dataclass(frozen=True, kw_only=True)
class BaselineRun:
    """The part of a :class:`RunRecord` that is compared, by the same names; ``se_total`` where it was computed."""

    B_E: int
    run: int
    seed: int
    eta: float
    delta_h1: float
    se_conditional: float | None
    entropy_mean: float
    entropy_se: float | None
    per_prompt: Sequence[float]
    se_total: float | None = None

    __pydantic_config__: ClassVar = STRICT

    @classmethod
    def of(cls, run: RunRecord) -> BaselineRun:
        """What is kept of a run."""
        kept = {one.name: getattr(run, one.name) for one in fields(cls)}
        return cls(**{**kept, "per_prompt": list(run.per_prompt)})

    @property
    def key(self) -> tuple[int, int, int]:
        """What a counterpart has in common with this run: B_E, number and seed."""
        return self.B_E, self.run, self.seed


@dataclass(frozen=True, kw_only=True)
class SharedUpdate:
    """The update batch of all runs, by its prompts and rewards ``[B_U][G]``; None where runs draw their own."""

    prompts: list[str] | None = None
    rewards: list[list[float]] | None = None

    __pydantic_config__: ClassVar = STRICT

    @classmethod
    def of(cls, update: UpdateRecord | None) -> SharedUpdate:
        """What is kept of an update."""
        return cls() if update is None else cls(prompts=update.prompts, rewards=update.rewards)


@dataclass(frozen=True, kw_only=True)
class Snapshot(Stored):
    """What a baseline keeps of one experiment.

    Attributes:
        checkpoint, checkpoint_digest: what was measured.
        objective: the settings that say which quantity, with which random numbers, by dotted key.
        environment: versions it was measured with, by package.
        unit: of delta_h1.
    """

    checkpoint: str = ""
    checkpoint_digest: str
    objective: dict[str, object]
    environment: dict[str, str] = field(default_factory=dict)
    unit: str = "nats per response"
    update: SharedUpdate
    runs: list[BaselineRun]

    __pydantic_config__: ClassVar = STRICT

    def to_dict(self) -> dict[str, object]:
        """Plain builtins for JSON."""
        record = dict(plain(self))
        for run in record["runs"]:
            if run["se_total"] is None:
                del run["se_total"]
        return record


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Snapshots of experiments by their names, under one ``name``."""

    schema_version: int = 1
    name: str = ""
    experiments: dict[str, Snapshot]

    def to_dict(self) -> dict[str, object]:
        """Plain builtins for JSON."""
        snapshots = {name: snapshot.to_dict() for name, snapshot in self.experiments.items()}
        return {"schema_version": self.schema_version, "name": self.name, "experiments": snapshots}
