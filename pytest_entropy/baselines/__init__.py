"""The regression gate: compare an experiment with a stored baseline of it, by intervals on differences."""
