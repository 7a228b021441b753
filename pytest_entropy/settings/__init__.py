"""The configuration, defined once for YAML files, command line and Python; importing this package imports nothing."""
