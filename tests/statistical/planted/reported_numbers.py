"""To come."""

from tests.statistical.planted.planted_fault import PlantedFault

FAULTS: list[PlantedFault] = []
