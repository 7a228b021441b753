"""The experiments known by name: what their directories and files are called, and which options size them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A run's directory, whatever sizes and repetitions there are.
EVERY_RUN = "BE{B_E:03d}_run{run:03d}"


@dataclass(frozen=True)
class ExperimentKind:
    """One kind of experiment.

    Attributes:
        name: category directory under ``results/`` and name of the template in ``configs/``.
        directory: prefix of an experiment's directory; the session's time stamp follows.
        run_directory: a run's directory, a format string of B_E, B_U and run, for the sizes its options can ask for.
        analysis: file name of the experiment's analysis.
        sizes: the command line option that gives B_E: ``--be-values`` or ``--be``.
        repeats: whether ``--runs`` applies.
        defaults: built-in values that differ from the model's.
    """

    name: str
    directory: str
    run_directory: str = EVERY_RUN
    analysis: str = "analysis.json"
    sizes: str = "--be-values"
    repeats: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)


_KNOWN = (
    ExperimentKind("batch_scaling", "δH₁_convergence", analysis="convergence_analysis.json"),
    ExperimentKind(
        "sanity_check",
        "validation",
        "run{run:03d}",
        "validation_summary.json",
        "--be",
        defaults={"batch_config": {"B_E_values": [256], "runs_per_batch": 15}, "diagnostics": True},
    ),
    ExperimentKind(
        "single_run",
        "single_run",
        "BE{B_E:03d}_BU{B_U:03d}",
        "single_test_results.json",
        "--be",
        False,
        {
            "batch_config": {"B_E_values": [256], "runs_per_batch": 1},
            "eta_sweep": {"multiples": [-2.0, -1.0, 1.0, 2.0, 4.0]},
        },
    ),
    ExperimentKind(
        "debug",
        "debug_analysis",
        "debug_BE{B_E:03d}",
        "debug_report.json",
        repeats=False,
        defaults={"batch_config": {"B_E_values": [16, 32], "runs_per_batch": 1}, "diagnostics": True},
    ),
)
KNOWN: dict[str, ExperimentKind] = {kind.name: kind for kind in _KNOWN}


def kind_of(name: str) -> ExperimentKind:
    """The kind of that name; a user's own experiment gets directories named after it."""
    return KNOWN.get(name) or ExperimentKind(name, name)
