"""The manifest: both directions, other tools' files, and what older versions left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_entropy.records.conclusion import Conclusion
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.results_directory import read_manifest
from pytest_entropy.records.serialization import RecordError
from pytest_entropy.records.session import SessionRecord

MANIFEST = ExperimentRecord(
    experiment="debug", stamp="2026", checkpoint="demo", checkpoint_digest="d", config_digest="c", layout="step",
    planned_runs=["BE008_run001"], environment={"python": "3.11"},
)  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [MANIFEST, Conclusion("measured", "because"), SessionRecord(stamp="2026", experiments=["debug/x"])],
)
def test_a_record_comes_back_as_it_was(record: ExperimentRecord | Conclusion | SessionRecord) -> None:
    assert type(record).from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_keys_that_came_later_may_be_missing() -> None:
    whole = MANIFEST.to_dict()
    few = {key: whole[key] for key in ("schema_version", "experiment", "stamp", "checkpoint_digest")}
    assert ExperimentRecord.from_dict(few) == ExperimentRecord(experiment="debug", stamp="2026", checkpoint_digest="d")


@pytest.mark.parametrize("key", ["schema_version", "experiment", "stamp", "checkpoint_digest"])
@pytest.mark.parametrize("value", [None, []])
def test_another_tools_file_is_not_ours(tmp_path: Path, key: str, value: list[int] | None) -> None:
    (tmp_path / "experiment.json").write_text(json.dumps({**MANIFEST.to_dict(), key: value}))
    assert read_manifest(tmp_path) is None
    with pytest.raises(RecordError, match=key):
        ExperimentRecord.from_dict({**MANIFEST.to_dict(), key: value})


def test_another_versions_manifest_says_which_it_is() -> None:
    newer = {**MANIFEST.to_dict(), "schema_version": 2, "planned_runs": {"of another": "kind"}}
    found = ExperimentRecord.from_dict(newer)
    assert (found.schema_version, found.experiment, found.planned_runs) == (2, "debug", [])
