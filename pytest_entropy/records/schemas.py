"""The JSON schemas of ``results.json``, ``comparison.json`` and ``summary.json``, generated from the records' types.

``schema/`` holds them as files for other programs; run ``python -m pytest_entropy.records.schemas`` after changing a
record to write them again.  Adding a key raises the schema version of its file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.files import write_json
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import json_schema
from pytest_entropy.records.summary import RunRow, SummaryRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent / "schema"
_DIGEST: dict[str, object] = {"pattern": "^[0-9a-f]{16}$"}
# Bounds and descriptions that the types do not contain, by record and field.
_ADDITIONS: dict[str, dict[str, dict[str, object]]] = {
    "SummaryRecord": {
        "stamp": {"description": "time at which the experiment's first session began"},
        "checkpoint_digest": _DIGEST,
        "config_digest": _DIGEST,
        "tone": {"description": "the verdict in one word"},
        "headline": {"description": "the verdict in words"},
        "verdict": {"description": "what the experiment's analysis concluded"},
        "comparison": {"description": "the comparison with a baseline"},
        "plugin_analyses": {"description": "results of other plugins' analyses by plugin name"},
    },
    "RunRow": {
        "B_E": {"minimum": 2, "description": "prompts of the entropy batch"},
        "run": {"minimum": 1},
        "delta_h1": {"description": "first-order entropy change, nats per response"},
        "se_conditional": {"minimum": 0, "description": "standard error given the update batch, nats per response"},
        "signal_to_noise": {"description": "|SE / delta_h1|"},
        "entropy_mean": {"description": "nats per response"},
        "length_mean": {"description": "tokens per response"},
        "seconds": {"minimum": 0},
        "se_total": {
            "minimum": 0,
            "description": "standard error over update batches; null if it was not computed or could not be "
            "determined (see notes)",
        },
        "mode": {
            "description": "in u_statistic every run draws its own update batch, and se_conditional is the total error"
        },
        "notes": {"description": "caveats about the numbers, empty if there are none"},
    },
    "CheckOutcome": {"p_value": {"minimum": 0, "maximum": 1}},
    "RunRecord": {"B_E": {"minimum": 1}, "run": {"minimum": 1}, "se_conditional": {"minimum": 0}},
}
# Records whose schema forbids further keys.
_CLOSED = ("SummaryRecord", "RunRow")
# Keys that are always written and so required, although their types have a default.
_WRITTEN = {"CheckOutcome": ("p_resolution",), "SummaryRecord": ("schema_version",), "Comparison": ("schema_version",)}


def schemas() -> dict[str, dict[str, object]]:
    """The JSON schemas by file name."""
    results = _schema(RunRecord, "results.json of a run", "Written when the run is done, beside its log.")
    results["properties"] = {"schema_version": {"const": 1}, **results["properties"]}
    results["required"] = ["schema_version", *results["required"]]
    comparison = _schema(Comparison, "comparison.json of an entropy experiment", "Written by --entropy-compare.")
    comparison["properties"]["schema_version"] = {"const": 1}
    summary = _schema(
        SummaryRecord, "summary.json of an entropy experiment", "Written next to an experiment's runs at session end."
    )
    return {"results-1.json": results, "comparison-1.json": comparison, "summary-1.json": summary}


def _schema(cls: Any, title: str, description: str) -> dict[str, Any]:
    generated: Any = json_schema(cls)
    parts = {**generated.get("$defs", {}), cls.__name__: generated}
    for name, part in parts.items():
        for generated_property in part["properties"].values():
            # pydantic generates the title from the key, so that it adds nothing.
            generated_property.pop("title", None)
        for key, more in _ADDITIONS.get(name, {}).items():
            part["properties"][key] |= more
        for key in RunRow.NOT_WRITTEN if name == RunRow.__name__ else ():
            del part["properties"][key]
        if name in _CLOSED:
            part["additionalProperties"] = False
        part["required"] = [*part.get("required", ()), *_WRITTEN.get(name, ())]
        # pydantic copies the docstring, which is written for readers of the code.
        part.pop("description", None)
    head = {"$schema": DIALECT, "title": title, "description": f"Version 1. {description}"}
    return {**head, **{key: value for key, value in generated.items() if key not in head}}


def write_schemas(folder: Path = FOLDER) -> None:
    """Write every schema into ``folder``."""
    for name, schema in schemas().items():
        write_json(folder / name, schema)


if __name__ == "__main__":
    write_schemas()
