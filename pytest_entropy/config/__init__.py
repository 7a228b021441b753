"""The configuration of an experiment: its model, its layers, and errors that name file, key and remedy."""

from pytest_entropy.config.layers import Layer, ResolvedConfig, resolve_config
from pytest_entropy.config.model import ExperimentConfig
from pytest_entropy.config.yaml_file import read_yaml

__all__ = ["ExperimentConfig", "Layer", "ResolvedConfig", "read_yaml", "resolve_config"]
