"""File formats of checkpoints, read without unpickling."""
