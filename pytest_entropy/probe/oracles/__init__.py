"""Oracles: second, independent computations by definition, plain and slow, that a run compares its numbers with."""
