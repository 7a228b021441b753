"""Measurements of a run beside delta_h1: discrepancies for the checks, ground truth, the eta sweep."""
