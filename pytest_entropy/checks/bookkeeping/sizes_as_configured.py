"""Batches are as large as configured."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import definition_not_asked, identity, recorded, with_definition

CHECK = identity(
    "sizes_as_configured",
    "U has as many prompts, and each prompt as many responses, as configured",
    "batches smaller than configured",
    ("asked", "agreement.size_gap"),
    recorded("agreement.size_gap", of=with_definition),
    definition_not_asked,
)
