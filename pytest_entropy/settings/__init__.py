"""What can be configured, once for YAML files, the command line and Python; importing this package imports nothing."""
