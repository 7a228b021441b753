"""What was reported follows from what was recorded: one identity a file, each naming one cause."""

from pytest_entropy.checks.bookkeeping.base import identities, judged

__all__ = ["identities", "judged"]
