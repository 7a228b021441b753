"""Second, independent computations that a run holds its numbers against; slow, plain, by definition."""
