"""The two kinds of error that a user can fix: wrong input, and a run that yields no result."""

from __future__ import annotations


class UsageError(ValueError):
    """Invalid input that is detected before any computation: an option, the configuration or a checkpoint directory.

    The plugin turns it into pytest's usage error, exit code 4.  The message names what is wrong, where, and
    the remedy.
    """


class RunError(RuntimeError):
    """A run that cannot yield a result, because a reward function failed, a gradient holds NaN, or the like.

    It fails the run's own test item; the message is written to the run's ``error.txt``.
    """
