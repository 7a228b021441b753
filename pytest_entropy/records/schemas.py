"""The JSON schemas of ``results.json``, ``comparison.json`` and ``summary.json``, made from the records' types.

``schema/`` holds them as files, for other programs; ``python -m pytest_entropy.records.schemas`` writes them anew after
a record has changed.  A key that is added raises the schema version of its file.
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
# What the types do not say: bounds, and for readers of the files what a number is; by record and field.
_MORE: dict[str, dict[str, dict[str, object]]] = {
    "SummaryRecord": {
        "stamp": {"description": "when the experiment's first session began"},
        "checkpoint_digest": _DIGEST,
        "config_digest": _DIGEST,
        "tone": {"description": "the verdict in one word"},
        "headline": {"description": "the verdict in words"},
        "verdict": {"description": "what the experiment's analysis concluded"},
        "comparison": {"description": "the comparison with a baseline"},
        "plugin_analyses": {"description": "other plugins' answers by plugin name"},
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
            "description": "standard error over update batches; null where it was not computed, or not determined "
            "(notes)",
        },
        "mode": {
            "description": "in u_statistic every run draws its own update, and se_conditional is conditional on nothing"
        },
        "notes": {"description": "what a reader has to know about the numbers, empty if nothing"},
    },
    "CheckOutcome": {"p_value": {"minimum": 0, "maximum": 1}},
    "RunRecord": {"B_E": {"minimum": 1}, "run": {"minimum": 1}, "se_conditional": {"minimum": 0}},
}
# Records that have no further keys.
_CLOSED = ("SummaryRecord", "RunRow")
# Always written, although their types have a default.
_WRITTEN = {"CheckOutcome": ("p_resolution",), "SummaryRecord": ("schema_version",), "Comparison": ("schema_version",)}


def schemas() -> dict[str, dict[str, object]]:
    """The schemas by their files' names."""
    results = _schema(RunRecord, "results.json of a run", "Written when the run is done, beside its log.")
    results["properties"] = {"schema_version": {"const": 1}, **results["properties"]}
    results["required"] = ["schema_version", *results["required"]]
    comparison = _schema(Comparison, "comparison.json of an entropy experiment", "Written by --entropy-compare.")
    comparison["properties"]["schema_version"] = {"const": 1}
    summary = _schema(
        SummaryRecord, "summary.json of an entropy experiment", "Written next to an experiment's runs at session end."
    )
    return {"results-1.json": results, "comparison-1.json": comparison, "summary-1.json": summary}


def _schema(cls: Any, title: str, words: str) -> dict[str, Any]:
    found: dict[str, Any] = json_schema(cls)
    parts = {**found.get("$defs", {}), cls.__name__: found}
    for name, part in parts.items():
        for stated in part["properties"].values():
            # Made from the key, which says it already.
            stated.pop("title", None)
        for key, more in _MORE.get(name, {}).items():
            part["properties"][key] |= more
        for key in RunRow.NOT_WRITTEN if name == RunRow.__name__ else ():
            del part["properties"][key]
        if name in _CLOSED:
            part["additionalProperties"] = False
        part["required"] = [*part.get("required", ()), *_WRITTEN.get(name, ())]
        # Docstrings are for readers of the code.
        part.pop("description", None)
    head = {"$schema": DIALECT, "title": title, "description": f"Version 1. {words}"}
    return {**head, **{key: value for key, value in found.items() if key not in head}}


def write_schemas(folder: Path = FOLDER) -> None:
    """Write every schema into ``folder``."""
    for name, schema in schemas().items():
        write_json(folder / name, schema)


if __name__ == "__main__":
    write_schemas()
