"""Optimizers whose state is read, one file each; a new file here is one more (CONTRIBUTING.md)."""
