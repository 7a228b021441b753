"""Builds the bundled demo checkpoint: ``python -m tools.demo.build`` (docs/demo.md)."""
