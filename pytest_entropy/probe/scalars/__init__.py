"""Further per-prompt scalars that a run can take from the same rollouts, one file each; no delta_h1 rests on them."""
