"""``experiment.json``: the manifest that identifies an experiment directory and lists its planned runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, RecordError, Stored, read

SCHEMA_VERSION = 1
# Keys that every manifest has: an experiment.json without them is another tool's, and its directory is never touched.
_OURS = {"schema_version": int, "experiment": str, "stamp": str, "checkpoint_digest": str}


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord(Stored):
    """The manifest of one experiment directory.

    Attributes:
        experiment: the experiment's name.
        stamp: the stamp of its first session.
        checkpoint: the checkpoint's path or name as configured.
        checkpoint_digest, config_digest: 16 hexadecimal digits each; a session with the same two may resume it.
        layout: the name of the checkpoint's layout.
        planned_runs: names of the directories of all planned runs.
        environment: versions of the packages on which a result may depend.
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
        """Read a manifest from its JSON form; of another schema version only the keys common to all versions are read.

        Raises:
            RecordError: the record is another tool's, or a value has the wrong type.
        """
        if not isinstance(record, Mapping):
            raise RecordError(f"the manifest is {type(record).__name__}, expected keys and values")
        missing = [key for key, kind in _OURS.items() if not isinstance(record.get(key), kind)]
        if missing:
            raise RecordError(f"not the manifest of an experiment: {', '.join(missing)} missing or of the wrong type")
        known = record["schema_version"] == SCHEMA_VERSION
        return read(cls, dict(record) if known else {key: record[key] for key in _OURS})
