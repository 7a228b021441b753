"""Variances of delta_h1 with the update batch random as well, and of ratios by the jackknife."""
