"""Forecast a run's memory on tensors without data, and choose pieces that fit what is free."""
