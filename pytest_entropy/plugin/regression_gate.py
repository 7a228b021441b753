"""What one session compares with: its baseline, its rules, and what a missing baseline means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.baselines.baseline import load_baseline, locate, objective, refuse_another, save
from pytest_entropy.baselines.rules import DEFAULT, Rule, parse_rules
from pytest_entropy.errors import UsageError
from pytest_entropy.plugin.options import given
from pytest_entropy.records.baseline import Snapshot
from pytest_entropy.runs.plan import Plan

if TYPE_CHECKING:
    import pytest


class Gate:
    """The session's regression gate.

    Raises:
        UsageError: an expression of ``--entropy-compare-fail`` is none, or there is nothing to compare with.
    """

    def __init__(self, config: pytest.Config, results_root: Path) -> None:
        self.config, self.root = config, results_root
        self.name: str | None = given(config, "--entropy-compare")
        self.missing: str = given(config, "--entropy-missing") or "fail"
        for option in ("--entropy-compare-fail", "--entropy-compare-anyway", "--entropy-missing"):
            if given(config, option) and not self.name:
                raise UsageError(f"{option} does nothing without --entropy-compare NAME")
        self._given = parse_rules(given(config, "--entropy-compare-fail") or ())

    @property
    def file(self) -> Path:
        """The baseline's file, there or not."""
        return locate(self.root, str(self.name))

    @cached_property
    def _experiments(self) -> dict[str, Snapshot]:
        # Read once: --entropy-save of the same name writes it anew at session end.
        anyway = bool(given(self.config, "--entropy-compare-anyway"))
        return load_baseline(self.file, anyway=anyway).experiments if self.file.is_file() else {}

    def baseline(self, experiment: str) -> Snapshot | None:
        """The baseline of an experiment, None if there is none.

        Raises:
            UsageError: the file is no baseline, or of another schema version.
        """
        return self._experiments.get(experiment)

    def rules(self, marked: Sequence[str]) -> list[Rule]:
        """The rules in force: the command line's, else those of ``@pytest.mark.entropy_tolerance``, else ours."""
        return self._given or parse_rules(marked or [DEFAULT])

    def refuse_another(self, plan: Plan) -> None:
        """Refuse a baseline of another checkpoint or objective, unless told otherwise.

        Raises:
            UsageError: names what differs.
        """
        before = self.baseline(plan.kind.name) if self.name else None
        if before is not None and not given(self.config, "--entropy-compare-anyway"):
            where = f"baseline {self.file} ({plan.kind.name})"
            refuse_another(before, plan.checkpoint_digest, objective(plan.resolved.config.model_dump()), where)

    def save(self, directories: Sequence[Path], *, green: bool) -> tuple[list[str], list[str]]:
        """Keep the session's results where asked; what was done and what was not, in words.

        A red session is no baseline.
        """
        wanted = {}
        if given(self.config, "--entropy-save"):
            wanted[given(self.config, "--entropy-save")] = "saved"
        if self.name and self.missing == "create" and not self.file.is_file():
            wanted[self.name] = "created"
        did, did_not = [], []
        for name, done in wanted.items():
            try:
                if not (green and directories):
                    raise UsageError("no experiment has results" if green else "the session was not green")
                did.append(f"baseline {done}: {save(locate(self.root, name), name, directories)}")
            except (UsageError, OSError) as error:
                did_not.append(f"baseline {name} NOT {done}: {error}")
        return did, did_not
