"""The run store: each run is computed once, by the first worker that needs it, and stored whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from pytest_entropy.records import error_text, phases
from pytest_entropy.records.attempts import attempts_in, failures_of_session, keep_errors
from pytest_entropy.records.files import write_json, write_text
from pytest_entropy.records.item import run_id
from pytest_entropy.records.paths import CONFIG, ERROR, LOCKS, LOG, MANIFEST, RESULTS, is_update_directory

log = logging.getLogger(__name__)
# Runs and files that one message names at most.
MOST_NAMED = 4
# Bytes of a killed attempt's log that are kept.
MOST_LOG = 4000


class News(NamedTuple):
    """A failure in one line: ``what`` failed, and the first line of the ``reason``."""

    what: str
    reason: str


class FailedRun(RuntimeError):
    """A run failed in this session, in this or another worker.

    Attributes:
        reason: the exception's message, with its type unless that is one of this package's.
        evidence: path of the ``error.txt`` with the traceback: the run's own, or the update batch's.
        known: whether it failed when it was asked for before, so that another message has the reason.
    """

    def __init__(self, text: str, evidence: Path, *, known: bool = False) -> None:
        self.reason, self.evidence, self.known = error_text.reason_in(text), evidence, known
        super().__init__(f"{self._named}\n{error_text.POINTER}{error_text.shown(evidence)}")

    @property
    def message(self) -> str:
        """What a test item says: the reason and the path of the traceback, or where another item's failure is."""
        return f"{self.what} failed: see {self.place}" if self.known else str(self)

    @property
    def place(self) -> str:
        """Path of the evidence below the experiment's directory."""
        return f"{self.evidence.parent.name}/{self.evidence.name}"

    @property
    def what(self) -> str:
        """What failed: the run's directory, or the update batch."""
        return error_text.in_words(self.evidence.parent.name)

    @property
    def _named(self) -> str:
        """The reason; of an update batch, which no item is named by, with what failed."""
        return f"{self.what} failed: {self.reason}" if is_update_directory(self.evidence.parent.name) else self.reason

    @property
    def news(self) -> News | None:
        """What failed and why in one line; None if another message has it."""
        return None if self.known else News(f"{self.what} failed", error_text.first_line(self.reason))


class NeededRunsFailed(AssertionError):
    """An analysis needs runs that failed.

    Attributes:
        news: the first failure that no other message has; else None.

    Args:
        failures: the errors of the failed runs by (B_E, run number); at least one.
    """

    def __init__(self, failures: Mapping[tuple[int, int], FailedRun]) -> None:
        names = [run_id(*run) for run in sorted(failures)]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        new = next((failure for failure in failures.values() if failure.news), None)
        places = sorted({failure.place for failure in failures.values()})
        others = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
        see = new.message if new else f"see {', '.join(places[:MOST_NAMED])}{others}"
        run = "run" if len(names) == 1 else "runs"
        super().__init__(f"needs the {run} {', '.join(names[:MOST_NAMED])}{more}, which failed: {see}")
        self.news = new.news if new else None
        # Plugins that rerun what failed for some reasons only look for them in the causes.
        self.__cause__ = failures[min(failures)]

    @property
    def message(self) -> str:
        """What a test item says."""
        return str(self)


class RunStore:
    """The run directories of one experiment.

    Args:
        directory: the experiment's; made when the first run begins.
        manifest: the experiment's identity; written once, to ``experiment.json``.
        stamp: the session's time stamp; runs that failed in earlier sessions are computed again, this session's only
            for a test item that is executed again.
        log_level: level of each run's ``probe_log.txt``.
    """

    def __init__(self, directory: Path, manifest: dict[str, object], stamp: str, log_level: int) -> None:
        self.directory, self.manifest, self.stamp, self.log_level = directory, manifest, stamp, log_level

    def path(self, name: str) -> Path:
        """Path of the run directory called ``name``, which may not exist yet."""
        return self.directory / name

    @contextmanager
    def claim(self, name: str, config: str, *, done: str = RESULTS, attempt: int = 1) -> Iterator[Path | None]:
        """Lock the run directory ``name`` for computing it in the block; gives None where it is stored already.

        Other processes that claim it wait.  The block is given an empty directory, which is renamed to ``name`` when
        the block ends; log records and warnings of the block go to its log.

        Args:
            name: of the directory, below the experiment's.
            config: text of its ``config.yaml``.
            done: the file by which the directory counts as stored.
            attempt: of the test item that asks, from 1: what has failed in fewer in this session is computed again.

        Raises:
            FailedRun: the block raised, here or in another worker of this session; the directory holds ``error.txt``.
        """
        final = self.path(name)
        if (final / done).is_file():
            yield None
            return
        self._open()
        with FileLock(self.directory / LOCKS / f"{name}.lock"):
            if (final / done).is_file():
                yield None
                return
            self._refuse_known_failure(final, attempt)
            with self._partial(final, config) as partial:
                yield partial

    def _open(self) -> None:
        """Make the experiment's directory with its manifest."""
        (self.directory / LOCKS).mkdir(parents=True, exist_ok=True)
        with FileLock(self.directory / LOCKS / "experiment.lock"):
            if not (self.directory / MANIFEST).is_file():
                write_json(self.directory / MANIFEST, self.manifest)

    def _refuse_known_failure(self, final: Path, attempt: int) -> None:
        """Raise the error of a run that has failed in this session in as many attempts, or in more."""
        if not (final / ERROR).is_file():
            return
        evidence, text = final / ERROR, _read(final / ERROR)
        if not text.startswith(error_text.stamp_line(self.stamp)):
            return
        other = error_text.directory_in(text)
        if other is not None:
            evidence = self.path(other) / ERROR
            if not evidence.is_file():
                # What it failed by has been computed since.
                return
            text = _read(evidence)
        if failures_of_session(final, self.stamp) >= attempt:
            raise FailedRun(text, evidence, known=True)

    @contextmanager
    def _partial(self, final: Path, config: str) -> Iterator[Path]:
        """An empty directory that becomes ``final`` when the block ends, with ``error.txt`` if it raises."""
        partial = final.with_name(f".{final.name}.partial")
        # Under the lock, a partial directory can only be left over from a killed process.
        killed = error_text.text_of_killed(_end_of(partial / LOG)) if partial.is_dir() else None
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_text(partial / CONFIG, config)
        try:
            with _log_to(partial / LOG, self.log_level), _warnings_to_log(), phases.working_on(final):
                yield partial
        except FailedRun as failure:
            # Another directory of this store, on which this one depends, has the traceback.
            other = failure.evidence.parent
            text = error_text.text_of_dependent(other.name, self.stamp, attempts_in(other))
            if (final / ERROR).is_file() and _read(final / ERROR) == text:
                # Nothing was computed: it is the failure that is noted already.
                shutil.rmtree(partial, ignore_errors=True)
                raise
            write_text(partial / ERROR, text)
            self._publish(partial, final, killed)
            raise
        except Exception as error:
            text = error_text.text_of(error, self.stamp)
            _release(error)
            write_text(partial / ERROR, text)
            self._publish(partial, final, killed)
            raise FailedRun(text, final / ERROR) from error
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._publish(partial, final, killed)

    def _publish(self, partial: Path, final: Path, killed: str | None) -> None:
        """Give a computed directory its name, with the errors of the attempts before it."""
        keep_errors(final, partial, killed)
        if final.exists():
            # What a failed attempt left is replaced; renamed first, so that ``final`` is never half-removed.
            gone = final.with_name(f".{final.name}.gone.{os.getpid()}")
            os.rename(final, gone)
            shutil.rmtree(gone, ignore_errors=True)
        os.rename(partial, final)


def _release(error: BaseException | None) -> None:
    """Free what the frames of a failed computation hold, such as a GPU's memory: the error itself lives on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _end_of(log_file: Path) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        with log_file.open("rb") as stream:
            stream.seek(max(0, log_file.stat().st_size - MOST_LOG))
            return stream.read(MOST_LOG).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


@contextmanager
def _warnings_to_log() -> Iterator[None]:
    """Write warnings of the block to the run's log, so that pytest's filterwarnings cannot make a run fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, category, filename, lineno, *_: log.warning(
            "%s: %s (%s:%d)", category.__name__, message, filename, lineno
        )
        yield


class _log_to:
    """Write the package's log records to a file during the block."""

    def __init__(self, path: Path, level: int) -> None:
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
        self._logger, self._level = logging.getLogger("pytest_entropy"), level

    def __enter__(self) -> None:
        self._before = self._logger.level
        self._logger.setLevel(min(self._level, self._before or self._level))
        self._handler.setLevel(self._level)
        self._logger.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.setLevel(self._before)
        self._handler.close()
