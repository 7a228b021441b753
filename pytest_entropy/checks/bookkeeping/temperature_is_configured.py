"""The policy's temperature is the configured one."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import identity, looked_at, recorded, was_looked_at

CHECK = identity(
    "temperature_is_configured",
    "sampler and scorer have the configured temperature",
    "a temperature other than the configured one",
    ("asked", "agreement.temperature_gap"),
    recorded("agreement.temperature_gap", of=looked_at),
    was_looked_at,
)
