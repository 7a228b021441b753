"""What a test author sees: ``probe_run``, ``probe_runs`` and ``experiment``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_entropy.plugin.session import EntropySession, session_of

if TYPE_CHECKING:
    import numpy as np

    from pytest_entropy.records.run import RunRecord
    from pytest_entropy.runs.execution import Execution
    from pytest_entropy.runs.store import FailedRun
    from pytest_entropy.settings.model import ExperimentConfig
    from pytest_entropy.stats import CheckOutcome

FAILURE = pytest.StashKey["FailedRun"]()


@dataclass(frozen=True)
class Runs:
    """All runs of an experiment: ``results`` that are there, ``failures`` by ``(B_E, run)``."""

    results: list[RunRecord]
    failures: dict[tuple[int, int], FailedRun]

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def complete(self) -> list[RunRecord]:
        """The results, all of them.

        Raises:
            AssertionError: a run failed; an analysis of what is left would be of another experiment.
        """
        __tracebackhide__ = True
        if self.failures:
            names = ", ".join(f"B_E {b} run {r}" for b, r in sorted(self.failures))
            first = str(next(iter(self.failures.values())))
            raise AssertionError(f"{len(self.failures)} of {self.planned} runs failed ({names}); the first:\n{first}")
        return self.results

    @property
    def planned(self) -> int:
        """How many runs there should be."""
        return len(self.results) + len(self.failures)


class FailedProbe:
    """Stands in for the result of a failed run; the item fails when called, or whoever looks inside."""

    def __init__(self, failure: FailedRun) -> None:
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        raise self._failure


class Experiment:
    """The experiment a test belongs to: configuration, directory, its share of the error budget."""

    def __init__(self, session: EntropySession, execution: Execution, item: pytest.Item) -> None:
        self._session, self._execution, self._item = session, execution, item

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._execution.plan.kind.name

    @property
    def config(self) -> ExperimentConfig:
        """The resolved configuration."""
        return self._execution.plan.resolved.config

    @property
    def directory(self) -> Path:
        """Where the experiment's results are."""
        return self._execution.plan.directory

    @property
    def alpha(self) -> float:
        """This test's share of the session's false-alarm budget (``@pytest.mark.entropy_check``)."""
        try:
            return self._session.shares[self._item.nodeid]
        except KeyError:
            raise pytest.UsageError(
                f"{self._item.nodeid} asks for a share of the error budget; mark it with @pytest.mark.entropy_check"
            ) from None

    def rng(self, purpose: str) -> np.random.Generator:
        """A random generator for one purpose, the same in every session with this seed."""
        from pytest_entropy.records.seeds import generator

        return generator(self._execution.seed, purpose)

    @cached_property
    def runs(self) -> Runs:
        """All planned runs, from the store or computed now."""
        results, failures = [], {}
        for B_E, run, outcome in self._execution.each_run():
            if isinstance(outcome, Exception):
                failures[B_E, run] = outcome
            else:
                results.append(outcome)
        return Runs(results, failures)

    def record(self, analysis: dict[str, Any], file: str | None = None) -> Path:
        """Write the experiment's analysis (or another JSON file) into its directory, whole or not at all."""
        from pytest_entropy.records.files import write_json

        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / (file or self._execution.plan.kind.analysis)
        write_json(path, {"schema_version": 1, "experiment": self.name, **analysis})
        return path

    def conclude(self, verdict: str, reason: str) -> None:
        """Say the verdict in words, for the summary and the reports."""
        from pytest_entropy.reports.view import CONCLUSION

        self.record({"verdict": verdict, "reason": reason}, CONCLUSION)
        self._item.user_properties += [("entropy_verdict", verdict), ("entropy_reason", reason)]

    def require(self, outcome: CheckOutcome) -> CheckOutcome:
        """Record a check's outcome, then fail or skip by it.

        Raises:
            StatisticalFailure: the null hypothesis is rejected.
            Inconclusive: the sample could not have decided.
        """
        from pytest_entropy.records.files import write_json
        from pytest_entropy.stats import require

        self.directory.mkdir(parents=True, exist_ok=True)
        write_json(self.directory / f"check_{self._item.name}_{outcome.name}.json".replace("/", "_"), outcome.to_dict())
        self._item.user_properties.append((f"entropy_p_{outcome.name}", outcome.p_value))
        return require(outcome)


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """The experiment this test belongs to."""
    session = session_of(request.config)
    plan = session.plan_of(request.node)
    node = request.node
    node.user_properties += [
        ("entropy_experiment", plan.kind.name),
        ("entropy_directory", str(session.planner.current(plan).directory)),
    ]
    return Experiment(session, session.execution(plan), node)


@pytest.fixture
def probe_run(request: pytest.FixtureRequest, experiment: Experiment) -> RunRecord:
    """One run: a test that asks for it becomes one item per (B_E, run)."""
    from pytest_entropy.runs.store import FailedRun

    B_E, run = request.param
    execution = experiment._execution
    try:
        result, stored = execution.run(B_E, run)
    except FailedRun as failure:
        request.node.stash[FAILURE] = failure
        request.node.user_properties += [("B_E", B_E), ("run", run)]
        return FailedProbe(failure)  # type: ignore[return-value]
    request.node.user_properties += run_properties(result, stored)
    return result


@pytest.fixture
def probe_runs(experiment: Experiment) -> Runs:
    """All runs of the experiment; ordered after the tests that make them, but computing what is missing."""
    return experiment.runs


def run_properties(result: RunRecord, stored: bool) -> list[tuple[str, Any]]:
    """What a run's report carries, in plain builtins: to JUnit, to the controller, to the summary."""
    from pytest_entropy.stats import signal_to_noise

    ratio, label = signal_to_noise(result.delta_h1, result.se_conditional)
    return [
        ("B_E", result.B_E),
        ("run", result.run),
        ("delta_h1", result.delta_h1),
        ("se_conditional", result.se_conditional),
        *_over_updates(result),
        ("mode", result.mode),
        ("sampling_fraction", result.sampling_fraction),
        ("signal_to_noise", ratio),
        ("signal_to_noise_label", label),
        ("unit", result.unit),
        ("seconds", round(sum(result.seconds.values()), 4)),
        ("peak_memory_mb", round(result.peak_memory_mb, 1)),
        ("entropy_mean", result.entropy_mean),
        ("stored", stored),
    ]


def _over_updates(result: RunRecord) -> list[tuple[str, Any]]:
    """The error over update batches where it was computed; where the estimate is negative, it and why it is none."""
    found = [("se_total", result.se_total), ("variance_total", result.variance_total)]
    return [(name, value) for name, value in found if value is not None] + (
        [("notes", "; ".join(result.notes))] if result.notes else []
    )
