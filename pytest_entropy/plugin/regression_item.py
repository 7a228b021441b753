"""The regression gate as a test item: one per experiment, after its runs, with a share of the error budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_entropy.baselines.baseline_file import snapshot
from pytest_entropy.baselines.compare import compare
from pytest_entropy.baselines.compare_directories import comparison_of
from pytest_entropy.baselines.rules import Rule
from pytest_entropy.plugin import markers
from pytest_entropy.plugin.attempts import repeated
from pytest_entropy.plugin.regression_gate import Gate
from pytest_entropy.plugin.undecided_item import leave_undecided
from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.files import write_json
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.paths import COMPARISON, MANIFEST
from pytest_entropy.reports.gate_reason import gate_reason
from pytest_entropy.runs.store import FailedRun, NeededRunsFailed

if TYPE_CHECKING:
    from pytest_entropy.plugin.session import EntropySession
    from pytest_entropy.runs.plan import Plan

NAME = "against_baseline"
# The item's verdict as the terminal shows it before the reason.
VERDICTS = {"fail": "CHANGED", "inconclusive": "inconclusive", "pass": "against the baseline"}


class Regression(AssertionError):
    """The experiment differs from its baseline by more than its tolerance."""


class GateItem(pytest.Item):
    """The test item that compares all runs of an experiment with the baseline."""

    # Ordered and judged like a test with these fixtures.
    fixturenames = ("probe_runs", "experiment")

    def __init__(self, *, state: EntropySession, gate: Gate, rules: Sequence[Rule], **more: Any) -> None:
        super().__init__(**more)
        self.state, self.gate, self.rules = state, gate, rules

    def runtest(self) -> None:
        """Compare the runs with the baseline by the rules, and write the comparison to ``comparison.json``.

        Raises:
            Regression: a quantity changed by more than its tolerance, or the baseline is missing and must not be.
            NeededRunsFailed: a run failed.
            Skipped: a comparison could not be decided; where the configuration says so, it fails instead.
        """
        execution = self.state.execution_of(self)
        plan = execution.plan
        directory = str(plan.directory)
        self._report(ItemReport(experiment=plan.kind.name, directory=directory, attempts=repeated(self)))
        before = self.gate.baseline(plan.kind.name)
        if before is None:
            return self._without_baseline(plan)
        failed = {(b, r): out for b, r, out in execution.each_run() if isinstance(out, FailedRun)}
        if failed:
            raise NeededRunsFailed(failed)
        after = snapshot(plan.directory)
        compared = compare(before, after, self.rules, alpha=self.state.shares[self.nodeid])
        comparison = comparison_of(str(self.gate.name), before, after, compared)
        write_json(plan.directory / COMPARISON, comparison.to_dict())
        self._conclude(comparison, fails_undecided=plan.resolved.config.checks.inconclusive == "fail")

    def _report(self, report: ItemReport) -> None:
        self.user_properties += report.to_properties()

    def _without_baseline(self, plan: Plan) -> None:
        """Fail or skip, as configured, because there is no baseline."""
        words = f"no baseline {self.gate.name!r} of {plan.kind.name} ({self.gate.file})"
        if (plan.directory / MANIFEST).is_file():
            nothing = Comparison(
                baseline=str(self.gate.name), pairing="nothing was compared", missing=words, quantities=[]
            )
            write_json(plan.directory / COMPARISON, nothing.to_dict())
        if self.gate.missing == "fail":
            raise Regression(
                f"{words}: nothing was compared. Save one with --entropy-save, or say --entropy-missing skip or create"
            )
        self._report(ItemReport(verdict="NOT COMPARED", reason=words))
        pytest.skip(f"NOT COMPARED: {words}")

    def _conclude(self, comparison: Comparison, *, fails_undecided: bool) -> None:
        """Report the comparison, and fail or skip by its verdict; the reason is one text wherever it is shown."""
        __tracebackhide__ = True
        reason = gate_reason(comparison)
        self._report(ItemReport(verdict=VERDICTS[comparison.overall], reason=reason))
        if comparison.overall == "fail":
            raise Regression(reason)
        if comparison.overall == "inconclusive":
            leave_undecided(reason, fails=fails_undecided)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message of a regression without its traceback, which would only show the plugin's code."""
        return str(excinfo.value) if isinstance(excinfo.value, Regression) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """The item's location for reports: the experiment's module."""
        return self.path, None, self.name


def gate_items(state: EntropySession, items: Sequence[pytest.Item]) -> list[GateItem]:
    """One gate item for each experiment among the collected tests.

    Args:
        state: the session's state, with its gate.
        items: the collected tests.

    Raises:
        UsageError: a tolerance cannot be parsed, or an experiment cannot be planned.
    """
    gate_item_of: dict[str, GateItem] = {}
    gate = state.planning.gate
    for item in items:
        module = item.getparent(pytest.Module)
        if module is None or "experiment" not in getattr(item, "fixturenames", ()):
            continue
        name = state.planning.plan_of(item).kind.name
        if name not in gate_item_of:
            marks = [mark for mark in module.iter_markers(markers.TOLERANCE)]
            marked = [str(text) for mark in marks[:1] for text in mark.args]
            new = GateItem.from_parent(module, name=NAME, state=state, gate=gate, rules=gate.rules(marked))
            new.add_marker(pytest.mark.entropy_check)
            gate_item_of[name] = new
    return list(gate_item_of.values())
