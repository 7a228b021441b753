"""Executors: who computes a session's runs, and on which device; a new file here is a new one (CONTRIBUTING.md)."""
