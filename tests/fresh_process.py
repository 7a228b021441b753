"""Code that has to run in a Python of its own: what it imports, or registers, would stay in the tests' process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def succeeds(code: str, *arguments: str | Path) -> str:
    """What a fresh Python prints that runs the code without an error; an error fails the test with its traceback.

    Args:
        code: a program.
        arguments: ``sys.argv[1:]`` of it.
    """
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
