"""``python -m pytest_entropy``: what is done with results after the session, and the old script's commands."""

from __future__ import annotations

import sys

from pytest_entropy.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
