"""The conclusion of each experiment: the record that its analysis writes, and the verdict in words."""
