"""The two ways a session goes wrong for reasons the user can mend."""

from __future__ import annotations


class UsageError(ValueError):
    """Bad input known before any work is done: option, configuration or checkpoint directory.

    The plugin turns it into pytest's usage error, exit code 4.  The message names what is wrong, where, and
    the remedy.
    """


class RunError(RuntimeError):
    """A run that cannot give a result (reward function failed, not-a-number in a gradient, ...).

    It fails its own test item; the text goes to the run's ``error.txt``.
    """
