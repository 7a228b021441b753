"""The run store: every run is computed once, by whoever needs it first, and is on disk whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from pytest_entropy.records.error_text import POINTER, reason_in
from pytest_entropy.records.files import write_json, write_text
from pytest_entropy.records.paths import CONFIG, ERROR, LOCKS, LOG, MANIFEST, RESULTS

log = logging.getLogger(__name__)


class FailedRun(RuntimeError):
    """A run that failed, in this session, wherever it was computed; ``evidence`` is its ``error.txt``."""

    def __init__(self, text: str, evidence: Path) -> None:
        reason = reason_in(text)
        super().__init__(f"{reason}\n{POINTER}{evidence}")
        self.evidence = evidence


class RunStore:
    """The directories of one experiment.

    Args:
        directory: the experiment's; made when the first run begins.
        manifest: what identifies the experiment; written once.
        stamp: this session's; failures of earlier sessions are tried again, this one's are not.
        log_level: of what goes to each run's ``probe_log.txt``.
    """

    def __init__(self, directory: Path, manifest: dict[str, object], stamp: str, log_level: int) -> None:
        self.directory, self.manifest, self.stamp, self.log_level = directory, manifest, stamp, log_level

    def path(self, name: str) -> Path:
        """The directory of that name, which may not be there yet."""
        return self.directory / name

    @contextmanager
    def claim(self, name: str, config: str, *, done: str = RESULTS) -> Iterator[Path | None]:
        """The right to compute the directory ``name``, for the duration of the block; None where it is done.

        Whoever else asks for it waits.  What the block writes into the directory it is given becomes ``name`` when the
        block ends; log records and warnings of the block go to its log.

        Args:
            name: of the directory below the experiment's.
            config: text of its ``config.yaml``.
            done: the file without which it is not there.

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
            self._refuse_known_failure(final)
            with self._partial(final, config) as partial:
                yield partial

    def _open(self) -> None:
        (self.directory / LOCKS).mkdir(parents=True, exist_ok=True)
        with FileLock(self.directory / LOCKS / "experiment.lock"):
            if not (self.directory / MANIFEST).is_file():
                write_json(self.directory / MANIFEST, self.manifest)

    def _refuse_known_failure(self, final: Path) -> None:
        if (final / ERROR).is_file():
            text = (final / ERROR).read_text(encoding="utf-8")
            if text.startswith(f"session {self.stamp}\n"):
                raise FailedRun(text, final / ERROR)

    @contextmanager
    def _partial(self, final: Path, config: str) -> Iterator[Path]:
        partial = final.with_name(f".{final.name}.partial")
        # Under the lock a partial directory can only be a killed process's.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_text(partial / CONFIG, config)
        try:
            with _log_to(partial / LOG, self.log_level), _warnings_to_log():
                yield partial
        except Exception as error:
            text = f"session {self.stamp}\n{''.join(traceback.format_exception(error))}"
            write_text(partial / ERROR, text)
            self._publish(partial, final)
            raise FailedRun(text, final / ERROR) from error
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._publish(partial, final)

    def _publish(self, partial: Path, final: Path) -> None:
        if final.exists():
            # An earlier session's failure gives way; renamed first, so that the name is never half-removed.
            gone = final.with_name(f".{final.name}.gone.{os.getpid()}")
            os.rename(final, gone)
            shutil.rmtree(gone, ignore_errors=True)
        os.rename(partial, final)


@contextmanager
def _warnings_to_log() -> Iterator[None]:
    """What libraries warn of goes to the run's log: whether a run succeeds is not up to pytest's filterwarnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, category, filename, lineno, *_: log.warning(
            "%s: %s (%s:%d)", category.__name__, message, filename, lineno
        )
        yield


class _log_to:
    """The package's log records go to a file for the duration."""

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
