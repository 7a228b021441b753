"""Optimizers: the state that a checkpoint stores, and the parameter update computed from it."""
