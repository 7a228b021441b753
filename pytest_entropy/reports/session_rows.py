"""An experiment as a row of the pages over sessions: checkpoint, step, delta_h1 with both errors, verdict, links."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.paths import INDEX, REPORT, SESSIONS
from pytest_entropy.records.summary import MeasuredChange
from pytest_entropy.stats.measurement import NOT_DETERMINED, OVER_BATCHES
from pytest_entropy.stats.signal import format_error, format_measure

WORDS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE", "": "NO SUMMARY"}
_STEP = re.compile(r"(?:step|checkpoint|ckpt|iter|iteration)s?[_-]?0*(?P<step>\d+)(?![^/])", re.IGNORECASE)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)(?:_(\d+))?")


@dataclass(frozen=True)
class ExperimentRow:
    """The row of an experiment.

    Attributes:
        name: the experiment's.
        directory: its directory as a relative URL from the page.
        checkpoint, step: its checkpoint in short, and the training step in the checkpoint's name; empty if it has none.
        path, digest: the checkpoint's path or name as configured, and the digest of its content.
        tone: ``pass``, ``fail`` or ``inconclusive``; empty of an experiment without a summary.
        measured: the measured entropy change, None without a run.
    """

    name: str
    directory: str
    checkpoint: str
    step: str
    path: str
    digest: str
    tone: str
    measured: MeasuredChange | None

    @classmethod
    def of(
        cls, directory: Path, manifest: ExperimentRecord, tone: str, measured: MeasuredChange | None, *, page: Path
    ) -> ExperimentRow:
        """The row of an experiment on a page.

        Args:
            directory: the experiment's.
            manifest: its manifest.
            tone: its verdict, empty if it is not known.
            measured: the measured entropy change.
            page: the directory of the page.
        """
        path = manifest.checkpoint
        return cls(
            manifest.experiment, relative_url(directory, page), short_name(path), step_of(path), path,
            manifest.checkpoint_digest, tone, measured,
        )  # fmt: skip

    @property
    def report(self) -> str:
        """The report's relative URL."""
        return f"{self.directory}/{REPORT}"

    @property
    def word(self) -> str:
        """The verdict as a word."""
        return WORDS.get(self.tone, self.tone)

    @property
    def measure(self) -> str:
        """delta_h1 and its first error."""
        return "-" if self.measured is None else format_measure(self.measured.delta_h1, self.measured.se_conditional)

    @property
    def unit(self) -> str:
        """The unit of delta_h1, and over which batches the first error is where it is not for one update batch."""
        if self.measured is None:
            return ""
        unit = self.measured.unit.replace(" per ", "/")
        return f"{unit}, {OVER_BATCHES}" if self.measured.mode == "u_statistic" else unit

    @property
    def over_updates(self) -> str:
        """The error over update batches, ``-`` where it was not computed."""
        if self.measured is None or (self.measured.se_total is None and not self.measured.note):
            return "-"
        return NOT_DETERMINED if self.measured.se_total is None else f"± {format_error(self.measured.se_total)}"

    @property
    def size(self) -> str:
        """The B_E of delta_h1, and the number of its runs."""
        return "-" if self.measured is None else f"{self.measured.B_E} × {self.measured.runs}"


def relative_url(target: Path, page: Path) -> str:
    """The URL of a file or directory, relative to the directory of a page, so that it works from a disk as well.

    Args:
        target: where the link leads.
        page: the directory of the page.
    """
    return quote(Path(os.path.relpath(target, page)).as_posix())


def session_url(stamp: str) -> str:
    """The URL of a session's page, relative to an experiment's directory, which lies two levels below the results.

    >>> session_url("2026-01-01_00-00-00")
    '../../sessions/2026-01-01_00-00-00/index.html'
    """
    return f"../../{SESSIONS}/{quote(stamp, safe='')}/{INDEX}"


def step_of(checkpoint: str) -> str:
    """The training step that a checkpoint's path names, empty where it names none.

    >>> step_of("runs/a/step_60"), step_of("out/checkpoint-500/"), step_of("run/global_step_120/actor"), step_of("demo")
    ('60', '500', '120', '')
    """
    found = [match["step"] for match in _STEP.finditer(checkpoint.rstrip("/"))]
    return found[-1] if found else ""


def short_name(checkpoint: str) -> str:
    """The last two parts of a checkpoint's path, which name run and step.

    >>> short_name("/data/runs/grpo-3/step_60"), short_name("demo")
    ('grpo-3/step_60', 'demo')
    """
    return "/".join([part for part in checkpoint.split("/") if part not in ("", ".")][-2:])


def time_of(stamp: str) -> str:
    """A session's stamp as date and time.

    >>> time_of("2026-01-31_12-00-05"), time_of("2026-01-31_12-00-05_2"), time_of("mine")
    ('2026-01-31 12:00:05', '2026-01-31 12:00:05 (2)', 'mine')
    """
    found = _STAMP.fullmatch(stamp)
    if found is None:
        return stamp
    day, hour, minute, second, number = found.groups()
    return f"{day} {hour}:{minute}:{second}" + (f" ({number})" if number else "")


def session_verdict(rows: Sequence[ExperimentRow]) -> tuple[str, str]:
    """The verdict of a session, as ``pass``, ``fail`` or ``inconclusive``, and in one sentence after its word.

    Args:
        rows: the session's experiments.
    """
    if not rows:
        return "inconclusive", "no experiment left results."
    by_tone: dict[str, list[str]] = {}
    for row in rows:
        by_tone.setdefault(row.tone, []).append(row.name)
    tone = next(one for one in ("fail", "inconclusive", "", "pass") if one in by_tone)
    names, passed = ", ".join(by_tone[tone]), len(by_tone.get("pass", ()))
    what = {
        "fail": "failed", "inconclusive": "left a question open", "": "has no summary yet", "pass": "passed",
    }[tone]  # fmt: skip
    others = f"; {passed} of {len(rows)} experiments passed" if tone != "pass" and len(rows) > 1 else ""
    return tone or "inconclusive", f"{names} {what}{others}."
