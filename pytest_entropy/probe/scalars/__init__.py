"""Per-prompt scalars for diagnostics, taken from a run's rollouts, one file each; delta_h1 uses none of them."""
