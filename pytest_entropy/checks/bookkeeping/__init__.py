"""Identities between recorded numbers: one identity per file, each of which names one cause of its violation."""

from pytest_entropy.checks.bookkeeping.base import identities, judged

__all__ = ["identities", "judged"]
