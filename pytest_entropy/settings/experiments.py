"""The built-in kinds of experiment: the names of their directories and files, their options and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

# The package that an installation has the built-in experiments in, and beside them their templates.
PACKAGE = "pytest_entropy.experiments"
# The name of a run's directory by size and repetition.
EVERY_RUN = "BE{B_E:03d}_run{run:03d}"


@dataclass(frozen=True)
class ExperimentKind:
    """One kind of experiment.

    Attributes:
        name: the name of the template in ``configs/``, and of the category directory unless ``within`` names one.
        directory: the prefix of an experiment's directory, before the session's stamp.
        run_directory: the name of a run's directory, a format string of B_E, B_U and run.
        analysis: the file name of the experiment's analysis.
        sizes: the command line option that sets B_E: ``--be-values`` or ``--be``.
        repeats: whether the option ``--runs`` applies.
        light: when ``checks.depth: light`` holds: ``never``, as where every run is there to be looked at; where it is
            ``configured``; or on a ``large`` model too, which ``auto`` stands for then.
        former_run_directory: the name of a run's directory in earlier versions, where it was another.
        within: the kind in whose category directory under ``results/`` the experiments lie; its own where empty.
        one_update: whether its runs are compared with one another, so that all are measured along one update batch.
        to_target: whether its runs may be taken until their mean has the error ``batch_config.target_se``: not where
            runs are compared with one another.
        judges_trust: whether its checks together say whether the probe can be trusted.
        defaults: the values that differ from the defaults of :class:`~pytest_entropy.settings.model.ExperimentConfig`.
    """

    name: str
    directory: str
    run_directory: str = EVERY_RUN
    analysis: str = "analysis.json"
    sizes: str = "--be-values"
    repeats: bool = True
    light: Literal["never", "configured", "large"] = "configured"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    former_run_directory: str = ""
    within: str = ""
    one_update: bool = True
    to_target: bool = False
    judges_trust: bool = False

    @property
    def category(self) -> str:
        """The name of the directory under ``results/`` that holds the experiments of this kind."""
        return self.within or self.name


_KNOWN = (
    ExperimentKind("batch_scaling", "δH₁_convergence", analysis="convergence_analysis.json"),
    ExperimentKind(
        "sanity_check",
        "validation",
        "run{run:03d}",
        "validation_summary.json",
        "--be",
        light="large",
        judges_trust=True,
        defaults={"batch_config": {"B_E_values": [256], "runs_per_batch": 15}, "diagnostics": True},
    ),
    ExperimentKind(
        "single_run",
        "single_run",
        "BE{B_E:03d}_BU{B_U}",
        "single_test_results.json",
        "--be",
        False,
        one_update=False,
        to_target=True,
        defaults={
            "batch_config": {"B_E_values": [256], "runs_per_batch": 1},
            "eta_sweep": {"multiples": [-2.0, -1.0, 1.0, 2.0, 4.0]},
        },
        former_run_directory="BE{B_E:03d}_BU{B_U:03d}",
    ),
    ExperimentKind(
        "debug",
        "debug_analysis",
        "debug_BE{B_E:03d}",
        "debug_report.json",
        repeats=False,
        light="never",
        defaults={"batch_config": {"B_E_values": [16, 32], "runs_per_batch": 1}, "diagnostics": True},
    ),
    ExperimentKind(
        "memory_scaling",
        "memory_scaling",
        # Not batch scaling's pattern, whose category it shares.
        "memory_BE{B_E:03d}_run{run:03d}",
        "memory_scaling.json",
        defaults={"batch_config": {"B_E_values": [32, 64, 128, 256], "runs_per_batch": 1}},
        within="batch_scaling",
    ),
)
KNOWN: dict[str, ExperimentKind] = {kind.name: kind for kind in _KNOWN}


def kind_of(name: str) -> ExperimentKind:
    """The built-in kind of this name, or, for a user's own experiment, a kind whose directories have its name."""
    return KNOWN.get(name) or ExperimentKind(name, name, one_update=False, to_target=True)


def installed_experiments() -> Path | None:
    """The directory of :data:`PACKAGE`; None in a checkout that is not installed."""
    spec = find_spec(PACKAGE)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
