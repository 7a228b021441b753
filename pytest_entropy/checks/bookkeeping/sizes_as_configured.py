"""Batches are as large as configured."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import identity, looked_at, recorded, was_looked_at

CHECK = identity(
    "sizes_as_configured",
    "U has as many prompts, and each prompt as many responses, as configured",
    "batches smaller than configured",
    ("asked", "agreement.size_gap"),
    recorded("agreement.size_gap", of=looked_at),
    was_looked_at,
)
