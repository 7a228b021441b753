"""Kinds of stored optimizer state, one per file; a new file here registers a new kind (CONTRIBUTING.md)."""
