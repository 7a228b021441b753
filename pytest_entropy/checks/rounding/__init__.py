"""What rounding explains of a difference between two correct computations."""
