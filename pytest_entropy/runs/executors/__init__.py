"""Executors, which compute a session's runs on a device; a new file here is a new executor (CONTRIBUTING.md)."""
