"""Runs of an experiment: planned, computed once, stored whole, kept and removed."""
