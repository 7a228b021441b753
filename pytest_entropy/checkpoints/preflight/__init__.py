"""Checks of an untrusted checkpoint and of the requested device, made before anything is loaded."""
