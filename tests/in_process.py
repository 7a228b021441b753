"""A pytest session inside the one that is running: what it refuses needs no interpreter of its own to be refused."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest


def run_here(arguments: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """What ``python -m pytest ARGUMENTS`` gives in ``directory``, as a finished process.

    Only for sessions that end before they compute: threads and devices they would choose are this process's.
    """
    out, err = io.StringIO(), io.StringIO()
    with _as_if_new(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = pytest.main(["-p", "no:cacheprovider", "--capture=sys", *arguments])
    return subprocess.CompletedProcess(list(arguments), int(code), out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _as_if_new(directory: Path) -> Iterator[None]:
    """In ``directory``, with none of the outer session's environment, and none of its modules left behind."""
    before = set(sys.modules)
    try:
        with contextlib.chdir(directory), mock.patch.dict(os.environ), mock.patch.object(sys, "path", list(sys.path)):
            for name in [name for name in os.environ if name.startswith(("PYTEST", "GITHUB"))]:
                del os.environ[name]
            yield
    finally:
        # Test modules, conftests and rewards of the directory; libraries stay, for torch cannot be imported twice.
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(os.path.abspath(file)).is_relative_to(directory):
                del sys.modules[name]
