"""Optimizers: the state a checkpoint gives, and the step taken from it."""
