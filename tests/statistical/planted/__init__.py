"""Faults that people plant by accident, found by asking what real programs get wrong, not what today's checks see."""

from __future__ import annotations

from importlib import import_module

from tests.statistical.planted.planted_fault import PlantedFault

KINDS = (
    "checkpoint_reading", "lost_gradients", "leaking_state", "prompts_and_text", "reported_numbers", "early_stops",
)  # fmt: skip


def _merged() -> dict[str, PlantedFault]:
    listed = [fault for kind in KINDS for fault in import_module(f"{__name__}.{kind}").FAULTS]
    merged = {fault.name: fault for fault in listed}
    assert len(merged) == len(listed), "two faults of one name"
    return merged


PLANTED: dict[str, PlantedFault] = _merged()
