"""A baseline file: the numbers of stored experiments that a later session is compared with, under the records' keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import STRICT, Stored, plain
from pytest_entropy.records.update import UpdateRecord


@dataclass(frozen=True, kw_only=True)
class BaselineRun:
    """The fields of a :class:`RunRecord` that a comparison uses; those with a default are None if not computed."""

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
    variance_total: float | None = None
    sampling_fraction: float | None = None

    __pydantic_config__: ClassVar = STRICT

    @classmethod
    def of(cls, run: RunRecord) -> BaselineRun:
        """The baseline entry of a run."""
        copied = {one.name: getattr(run, one.name) for one in fields(cls)}
        return cls(**{**copied, "per_prompt": list(run.per_prompt)})

    @property
    def key(self) -> tuple[int, int, int]:
        """B_E, run number and seed: what this run must have in common with a run it is compared with in pairs."""
        return self.B_E, self.run, self.seed


@dataclass(frozen=True, kw_only=True)
class SharedUpdate:
    """The prompts and rewards ``[B_U][G]`` of the update batch that all runs share; None if each run draws its own."""

    prompts: list[str] | None = None
    rewards: list[list[float]] | None = None

    __pydantic_config__: ClassVar = STRICT

    @classmethod
    def of(cls, update: UpdateRecord | None) -> SharedUpdate:
        """The baseline entry of an update; None for runs that draw their own."""
        return cls() if update is None else cls(prompts=update.prompts, rewards=update.rewards)


@dataclass(frozen=True, kw_only=True)
class Snapshot(Stored):
    """A baseline's entry of one experiment.

    Attributes:
        checkpoint, checkpoint_digest: the measured checkpoint's path, and the digest of its content.
        objective: the settings that define the measured quantity and its random numbers, by dotted key.
        environment: package versions of the measurement.
        settings: further settings that may move a number, by dotted key; empty in older files.
        config_digest: digest of the configuration and of the prompt and reward files that it names; empty in older
            files.
        unit: the unit of delta_h1.
        update: the update batch that the runs share.
        runs: the runs' entries.
    """

    checkpoint: str = ""
    checkpoint_digest: str
    objective: dict[str, object]
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    config_digest: str = ""
    unit: str = "nats per response"
    update: SharedUpdate
    runs: list[BaselineRun]

    __pydantic_config__: ClassVar = STRICT

    def to_dict(self) -> dict[str, object]:
        """The record's JSON form, as plain builtins."""
        record = dict(plain(self))
        for run in record["runs"]:
            for name in ("se_total", "variance_total", "sampling_fraction"):
                if run[name] is None:
                    del run[name]
        return record


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The content of a baseline file: a snapshot of each experiment, by the experiment's name."""

    schema_version: int = 1
    name: str = ""
    experiments: dict[str, Snapshot]

    def to_dict(self) -> dict[str, object]:
        """The record's JSON form, as plain builtins."""
        snapshots = {name: snapshot.to_dict() for name, snapshot in self.experiments.items()}
        return {"schema_version": self.schema_version, "name": self.name, "experiments": snapshots}
