"""Whole sessions of pytest in this process, with a fault planted, beside those of the correct program."""

from __future__ import annotations

from tests.statistical.planted.planted_fault import PlantedFault


def judge_sessions(fault: PlantedFault) -> tuple[float, tuple[str, ...], tuple[str, ...], float]:
    raise NotImplementedError
