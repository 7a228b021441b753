"""The figures of a report, one a file: each is drawn from a view, or is None where the data for it is missing."""
