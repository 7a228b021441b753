"""The figures of a report, one per file: each is drawn from a view, or is None if its data are missing."""
