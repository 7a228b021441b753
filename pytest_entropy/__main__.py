"""``python -m pytest_entropy``: the command ``pytest-entropy``, where it is not on the path."""

from __future__ import annotations

import sys

from pytest_entropy.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main())
