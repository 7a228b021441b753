"""The policy-gradient objectives by name, as TRL (``loss_type``) and verl (``loss_agg_mode``) spell them.

They differ in the scaling of advantages and in the divisor of a token's weight; the weights themselves are computed in
``probe/update/objective.py``.  Dr. GRPO arXiv 2503.20783, GRPO 2402.03300, RLOO 2402.14740, DAPO 2503.14476.
"""

from __future__ import annotations

import difflib

# name -> (baseline and scaling of the advantage, divisor of a token's weight)
OBJECTIVES: dict[str, tuple[str, str]] = {
    "dr_grpo": ("none", "max_length"),
    "grpo": ("group", "own_length"),
    "gspo": ("group", "own_length"),
    "dapo": ("group", "all_tokens"),
    "cispo": ("group", "all_tokens"),
    "bnpo": ("group", "all_tokens"),
    "rloo": ("leave_one_out", "one"),
    "sapo": ("group", "own_length"),
    "luspo": ("group", "one"),
    "vespo": ("group", "all_tokens"),
    "seq-mean-token-mean": ("group", "own_length"),
    "seq-mean-token-sum": ("group", "one"),
    "seq-mean-token-sum-norm": ("group", "max_length"),
    "token-mean": ("group", "all_tokens"),
    "predecessor": ("none", "longest_of_group"),
}
SCALINGS = ("none", "group", "batch", "leave_one_out")


def known_objective(name: str) -> str:
    """Return ``name`` if it is the name of an objective.

    Raises:
        ValueError: no objective has this name; the message names the nearest known one, or else all of them.
    """
    if name in OBJECTIVES:
        return name
    near = difflib.get_close_matches(name, OBJECTIVES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(OBJECTIVES)}"
    raise ValueError(f"objective {name!r} is not known; {hint}")


def normalised_over_batch(objective: str, scale_rewards: str | None) -> bool:
    """Whether the update divides by a number computed over the whole batch, so that prompts are not independent.

    Args:
        objective: the objective's name.
        scale_rewards: the configured scaling of rewards; None for the objective's own.
    """
    own_scaling, divisor = OBJECTIVES[objective]
    return divisor == "all_tokens" or (scale_rewards or own_scaling) == "batch"
