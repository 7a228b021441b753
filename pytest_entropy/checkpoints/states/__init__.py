"""Optimizer states on disk: read, ordered, and proved to belong to the parameters they are mapped to."""
