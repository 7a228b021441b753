"""``experiment.json``: what identifies an experiment directory, and which runs it is to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, RecordError, Stored, read

SCHEMA_VERSION = 1
# What makes an experiment.json ours: other tools have files of that name, and what is not ours is never touched.
_OURS = {"schema_version": int, "experiment": str, "stamp": str, "checkpoint_digest": str}


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord(Stored):
    """The manifest of one experiment directory.

    Attributes:
        experiment: the experiment's name, which is its category's, too.
        stamp: the time its first session began.
        checkpoint: path or name as configured.
        checkpoint_digest, config_digest: 16 hexadecimal digits; experiments with both in common may be continued.
        layout: how the checkpoint's files are laid out.
        planned_runs: names of the runs' directories.
        environment: versions a result may depend on, by package.
    """

    schema_version: int = SCHEMA_VERSION
    experiment: str
    stamp: str
    checkpoint: str = ""
    checkpoint_digest: str
    config_digest: str = ""
    layout: str = ""
    planned_runs: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    __pydantic_config__: ClassVar = STRICT

    @classmethod
    def from_dict(cls, record: object) -> ExperimentRecord:
        """The inverse of :meth:`to_dict`; of another schema version only what makes the record ours is read.

        Raises:
            RecordError: it is another tool's, or a value is of another type.
        """
        if not isinstance(record, Mapping):
            raise RecordError(f"{type(record).__name__}, expected keys and values")
        lacking = [key for key, kind in _OURS.items() if not isinstance(record.get(key), kind)]
        if lacking:
            raise RecordError(f"not an experiment's: {', '.join(lacking)}")
        known = record["schema_version"] == SCHEMA_VERSION
        return read(cls, dict(record) if known else {key: record[key] for key in _OURS})
