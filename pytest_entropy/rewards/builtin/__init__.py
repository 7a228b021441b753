"""Rewards by name, one file each; a new file here is a new reward (CONTRIBUTING.md)."""
