"""The regression gate: an experiment against a stored baseline of itself, by intervals on differences."""
