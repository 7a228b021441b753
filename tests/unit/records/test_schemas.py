"""The shipped schemas: made from the types, held by real files, and as strict as they promise to be."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_entropy.baselines.baseline_file import snapshot
from pytest_entropy.baselines.compare import compare
from pytest_entropy.baselines.compare_directories import to_rows
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.schemas import FOLDER, schemas, write_schemas
from tests.unit.plugin.test_session_end import outcome
from tests.unit.reports.stored import store_experiment


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with runs, a check, and a comparison with itself."""
    directory = store_experiment(tmp_path_factory.mktemp("results"), checks=[outcome(0.0)])
    one = snapshot(directory)
    rows = to_rows(compare(one, one, parse_rules([DEFAULT]), alpha=1e-3))
    write_json(directory / "comparison.json", Comparison(baseline="main", pairing="4 of 4", quantities=rows).to_dict())
    write_reports(directory)
    return directory


def schema(name: str) -> dict[str, object]:
    found: dict[str, object] = read_json(FOLDER / f"{name}-1.json")
    return found


def meaning(schema: Any) -> Any:
    """The schema without what versions of pydantic add or leave out: a list of the one constant, leave for others."""
    if isinstance(schema, list):
        return list(map(meaning, schema))
    if not isinstance(schema, dict):
        return schema
    said = {key: meaning(value) for key, value in schema.items() if (key, value) != ("additionalProperties", True)}
    if said.get("enum") == [said.get("const")]:
        del said["enum"]
    return said


def test_the_shipped_schemas_are_those_of_the_types(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    made, shipped = ({path.name: meaning(read_json(path)) for path in d.glob("*.json")} for d in (tmp_path, FOLDER))
    assert made == shipped, "run: python -m pytest_entropy.records.schemas"


@pytest.mark.parametrize("name", ["results", "comparison", "summary"])
def test_real_files_keep_to_their_schemas(directory: Path, name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    files = list(directory.rglob(f"{name}.json"))
    assert files
    for file in files:
        jsonschema.validate(read_json(file), schema(name))


def test_every_field_of_a_run_that_is_written_is_in_its_schema() -> None:
    written = {one.name for one in fields(RunRecord)} - set(RunRecord.NOT_WRITTEN)
    results: dict[str, Any] = schemas()["results-1.json"]
    assert set(results["properties"]) == written | {"schema_version"}


def changed(record: dict[str, object], path: tuple[str | int, ...], value: object) -> dict[str, object]:
    """A copy with another value at ``path``, or without the key where ``value`` is ``...``."""
    copy = deepcopy(record)
    place: Any = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("more",), 1),
        (("schema_version",), 2),
        (("schema_version",), ...),
        (("checkpoint_digest",), "1D62"),
        (("tone",), "green"),
        (("verdict",), ...),
        (("comparison",), ...),
        (("environment",), {"torch": 2}),
        (("runs", 0, "more"), 1),
        (("runs", 0, "B_E"), 1),
        (("runs", 0, "run"), 0),
        (("runs", 0, "delta_h1"), None),
        (("runs", 0, "se_conditional"), -0.1),
        (("runs", 0, "se_total"), -0.1),
        (("runs", 0, "mode"), "three_batch"),
        (("runs", 0, "seconds"), -1),
        (("runs", 0, "seed"), ...),
        (("checks", 0, "p_resolution"), ...),
        (("checks", 0, "p_value"), 1.5),
        (("checks", 0, "ci"), [0.0]),
        (("checks", 0, "verdict"), "unknown"),
    ],
)
def test_what_the_summary_promises(directory: Path, path: tuple[str | int, ...], value: object) -> None:
    summary = read_json(directory / "summary.json")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(summary, path, value), schema("summary"))


@pytest.mark.parametrize("key", ["delta_h1", "per_prompt", "schema_version", "agreement"])
def test_a_result_without_what_makes_it_one_is_refused(directory: Path, key: str) -> None:
    record = read_json(next(directory.rglob("results.json")))
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(changed(record, (key,), ...), schema("results"))


def test_a_further_key_of_a_result_is_allowed(directory: Path) -> None:
    record = read_json(next(directory.rglob("results.json")))
    jsonschema.validate(json.loads(json.dumps({**record, "later": 1})), schema("results"))
