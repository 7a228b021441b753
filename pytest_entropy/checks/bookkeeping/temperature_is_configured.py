"""The policy's temperature is the configured one."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import definition_not_asked, identity, recorded, with_definition

CHECK = identity(
    "temperature_is_configured",
    "sampler and scorer have the configured temperature",
    "a temperature other than the configured one",
    ("asked", "agreement.temperature_gap"),
    recorded("agreement.temperature_gap", of=with_definition),
    definition_not_asked,
)
