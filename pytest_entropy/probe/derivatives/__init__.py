"""Directional derivatives s_n for a whole batch in one backward, and gradients as vectors."""
