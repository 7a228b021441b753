"""Runs the experiments from a checkout that is not installed: the plugin is loaded by hand if need be."""

from importlib.metadata import entry_points

if not any(entry.value == "pytest_entropy.plugin" for entry in entry_points(group="pytest11")):
    pytest_plugins = ["pytest_entropy.plugin"]
