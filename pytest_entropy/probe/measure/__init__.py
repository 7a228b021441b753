"""Measurements of delta_h1 from two batches or from one, per response or per token."""
