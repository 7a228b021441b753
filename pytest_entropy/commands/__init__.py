"""The commands of ``python -m pytest_entropy``."""
