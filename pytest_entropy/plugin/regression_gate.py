"""The session's regression gate: its baseline, its rules, and what a missing baseline means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.baselines.baseline_file import (
    load_baseline,
    locate,
    newest_baseline,
    objective,
    refuse_another,
    save,
)
from pytest_entropy.baselines.rules import DEFAULT, Rule, parse_rules
from pytest_entropy.errors import UsageError
from pytest_entropy.plugin.option_values import NEWEST
from pytest_entropy.plugin.options import dest, given
from pytest_entropy.records.baseline import Snapshot
from pytest_entropy.records.paths import BASELINES
from pytest_entropy.runs.plan import Plan

if TYPE_CHECKING:
    import pytest


class Gate:
    """The session's regression gate, as the command line configures it.

    Attributes:
        name: of the baseline to compare with, None without ``--entropy-compare``.
        newest_line: the header's line on which baseline is the newest; empty where it was named.
        missing: what a missing baseline means: ``fail``, ``skip`` or ``create``.

    Raises:
        UsageError: an expression of ``--entropy-compare-fail`` cannot be parsed, or an option of the gate is given
            without ``--entropy-compare``, or there is no newest baseline.
    """

    def __init__(self, config: pytest.Config, results_root: Path) -> None:
        self.config, self.root = config, results_root
        self.name: str | None = given(config, "--entropy-compare")
        self.missing: str = given(config, "--entropy-missing") or "fail"
        for option in ("--entropy-compare-fail", "--entropy-compare-anyway", "--entropy-missing"):
            if given(config, option) and self.name is None:
                raise UsageError(f"{option} does nothing without --entropy-compare NAME")
        self.newest_line = ""
        if self.name == NEWEST:
            self.name = self._newest()
        # The files of baselines that this session saved.
        self.written: list[Path] = []
        self._option_rules = parse_rules(given(config, "--entropy-compare-fail") or ())

    def _newest(self) -> str:
        """The name of the newest baseline, which from now on is the option's value."""
        file = newest_baseline(self.root)
        if file is None:
            if self.missing == "skip":
                return "newest"
            raise UsageError(
                f"--entropy-compare names no baseline, and {self.root / BASELINES} holds none: save one with "
                "--entropy-save NAME"
            )
        self.newest_line = f"entropy: compared with the newest baseline, {file.stem} ({file})"
        # Workers get the option's value, and so compare with the same one, whatever is saved meanwhile.
        setattr(self.config.option, dest("--entropy-compare"), file.stem)
        return file.stem

    @property
    def file(self) -> Path:
        """Path of the baseline's file, which may not exist."""
        return locate(self.root, str(self.name))

    @cached_property
    def _experiments(self) -> dict[str, Snapshot]:
        # Read once: --entropy-save of the same name overwrites the file at session end.
        anyway = bool(given(self.config, "--entropy-compare-anyway"))
        return load_baseline(self.file, anyway=anyway).experiments if self.file.is_file() else {}

    def baseline(self, experiment: str) -> Snapshot | None:
        """The baseline of an experiment, None if there is none.

        Raises:
            UsageError: the file is not a baseline, or has another schema version.
        """
        return self._experiments.get(experiment)

    def _absent(self, plans: Sequence[Plan]) -> list[str]:
        """The names of the planned experiments that the baseline is to be compared with, and does not have."""
        return [plan.kind.name for plan in plans if self.name and self.baseline(plan.kind.name) is None]

    def require_baseline(self, plans: Sequence[Plan]) -> None:
        """Reject a baseline that has none of the planned experiments, if a missing baseline is a failure.

        Raises:
            UsageError: nothing could be compared; names the file and the remedy.
        """
        absent = self._absent(plans)
        if absent and len(absent) == len(plans) and self.missing == "fail":
            lacks = f"has no {' and no '.join(absent)}" if self.file.is_file() else "does not exist"
            raise UsageError(
                f"no baseline {self.name!r} to compare with: {self.file} {lacks}; save one with --entropy-save "
                f"{self.name}, or say --entropy-missing skip or create"
            )

    def header(self, plans: Sequence[Plan]) -> list[str]:
        """The header's lines about planned experiments that the baseline does not have: what will become of each."""
        then = "its comparison will fail" if self.missing == "fail" else "nothing will be compared"
        if self.missing == "create" and not self.file.is_file():
            then += ", and a green session creates it"
        given = f"--entropy-missing {self.missing}"
        return [f"  no baseline {self.name!r} of {name}: {then} ({given})" for name in self._absent(plans)]

    def rules(self, marked: Sequence[str]) -> list[Rule]:
        """The command line's rules, else those of ``@pytest.mark.entropy_tolerance`` (``marked``), else the default.

        Raises:
            UsageError: a marker's expression cannot be parsed.
        """
        return self._option_rules or parse_rules(marked or [DEFAULT])

    def refuse_another(self, plan: Plan) -> None:
        """Reject a baseline of another checkpoint or objective, unless ``--entropy-compare-anyway`` is given.

        Raises:
            UsageError: they differ; names what differs.
        """
        before = self.baseline(plan.kind.name) if self.name else None
        if before is not None and not given(self.config, "--entropy-compare-anyway"):
            where = f"baseline {self.file} ({plan.kind.name})"
            refuse_another(before, plan.checkpoint_digest, objective(plan.resolved.config.model_dump()), where)

    def save(self, directories: Sequence[Path], *, green: bool) -> tuple[list[str], list[str]]:
        """Save the session's results as the requested baselines.

        Args:
            directories: experiment directories of the session.
            green: whether the session passed; the results of a failed session are not saved.

        Returns:
            Messages about the baselines that were saved, and about those that were not.
        """
        requested = {}
        if given(self.config, "--entropy-save"):
            requested[given(self.config, "--entropy-save")] = "saved"
        if self.name and self.missing == "create" and not self.file.is_file():
            requested[self.name] = "created"
        saved, not_saved = [], []
        for name, done in requested.items():
            try:
                if not (green and directories):
                    raise UsageError("no experiment has results" if green else "the session was not green")
                self.written.append(save(locate(self.root, name), name, directories))
                saved.append(f"baseline {done}: {self.written[-1]}")
            except (UsageError, OSError) as error:
                not_saved.append(f"baseline {name} NOT {done}: {error}")
        return saved, not_saved
