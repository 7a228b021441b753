"""What the fixtures give to a test author: an experiment, its runs, and a stand-in for a run that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_entropy.plugin.session import EntropySession

if TYPE_CHECKING:
    import numpy as np

    from pytest_entropy.records.memory_probe import MemoryProbes
    from pytest_entropy.records.run import RunRecord
    from pytest_entropy.runs.execution import Execution
    from pytest_entropy.runs.store import FailedRun
    from pytest_entropy.settings.model import ExperimentConfig
    from pytest_entropy.stats import CheckOutcome


@dataclass(frozen=True)
class Runs:
    """All runs of an experiment: ``results`` of the successful ones, ``failures`` of the others by ``(B_E, run)``."""

    results: list[RunRecord]
    failures: dict[tuple[int, int], FailedRun]

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def complete(self) -> list[RunRecord]:
        """The results of all planned runs.

        Raises:
            NeededRunsFailed: a run failed; an analysis of the other runs would be of another experiment.
        """
        __tracebackhide__ = True
        if self.failures:
            from pytest_entropy.runs.store import NeededRunsFailed

            raise NeededRunsFailed(self.failures)
        return self.results

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return len(self.results) + len(self.failures)


class FailedProbe:
    """Stands in for the result of a failed run: reading any attribute raises the run's error."""

    def __init__(self, failure: FailedRun) -> None:
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        raise self._failure


class Experiment:
    """The experiment a test belongs to: its configuration, directory and runs, and the test's error budget."""

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
        """The directory of the experiment's results."""
        return self._execution.plan.directory

    @property
    def alpha(self) -> float:
        """This test's share of the session's false-alarm budget (``@pytest.mark.entropy_check``).

        Raises:
            UsageError: the test does not have that marker.
        """
        try:
            return self._session.shares[self._item.nodeid]
        except KeyError:
            raise pytest.UsageError(
                f"{self._item.nodeid} asks for a share of the error budget; mark it with @pytest.mark.entropy_check"
            ) from None

    def rng(self, purpose: str) -> np.random.Generator:
        """A random generator for one ``purpose``, the same in every session with this experiment's seed."""
        from pytest_entropy.records.seeds import generator

        return generator(self._execution.seed, purpose)

    @cached_property
    def runs(self) -> Runs:
        """All planned runs; those that are not stored yet are computed."""
        results, failures = [], {}
        for B_E, run, outcome in self._execution.each_run():
            if isinstance(outcome, Exception):
                failures[B_E, run] = outcome
            else:
                results.append(outcome)
        return Runs(results, failures)

    @cached_property
    def memory_probes(self) -> MemoryProbes:
        """The memory of small runs against B_E, G and length, counted once and stored beside the planned runs.

        Raises:
            NeededRunsFailed: a planned run failed.
            FailedRun: a probe failed.
        """
        runs = self.runs.complete()
        return self._execution.memory_probes(sum(run.length_mean for run in runs) / len(runs))

    def record(self, analysis: Mapping[str, object], file: str | None = None) -> Path:
        """Write the experiment's analysis into its directory as JSON, whole or not at all, and return the path.

        Args:
            analysis: plain values by key.
            file: name of another file to write.
        """
        from pytest_entropy.records.files import write_json

        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / (file or self._execution.plan.kind.analysis)
        write_json(path, {"schema_version": 1, "experiment": self.name, **analysis})
        return path

    def conclude(self, verdict: str, reason: str) -> None:
        """Record the experiment's verdict, for the terminal summary and the reports.

        Args:
            verdict: in a word or two, such as ``converges``.
            reason: the numbers behind it, in words.
        """
        from pytest_entropy.records.conclusion import Conclusion
        from pytest_entropy.records.item import ItemReport
        from pytest_entropy.records.paths import CONCLUSION

        self.record(Conclusion(str(verdict), str(reason)).to_dict(), CONCLUSION)
        self._item.user_properties += ItemReport(verdict=str(verdict), reason=str(reason)).to_properties()

    def require(self, outcome: CheckOutcome) -> CheckOutcome:
        """Record a check's outcome and return it, or fail or skip the test by its verdict.

        Raises:
            StatisticalFailure: the null hypothesis is rejected.
            Inconclusive: the sample was too small to decide.
        """
        from pytest_entropy.records.files import write_json
        from pytest_entropy.records.item import ItemReport
        from pytest_entropy.records.paths import check_file
        from pytest_entropy.stats import require

        self.directory.mkdir(parents=True, exist_ok=True)
        write_json(self.directory / check_file(self._item.name, outcome.name), outcome.to_dict())
        self._item.user_properties += ItemReport(p_values={outcome.name: outcome.p_value}).to_properties()
        return require(outcome)
