"""Split a session's false-alarm budget over its checks before any of them is judged (Bonferroni)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def split_budget(alpha: float, weights: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """Each check's share of ``alpha``, in proportion to its weight, by check name.

    The checks are judged one by one on different workers, so nothing can be adjusted afterwards; by the union bound
    (Bonferroni) the chance that any of them rejects a true null hypothesis is at most ``alpha``.

    >>> {name: round(share, 6) for name, share in split_budget(1e-3, {"convergence": 3, "score_identity": 1}).items()}
    {'convergence': 0.00075, 'score_identity': 0.00025}

    Args:
        alpha: the session's false-alarm rate, in (0, 1).
        weights: the weight of each check by name, or a sequence of names for equal weights.

    Raises:
        ValueError: alpha lies outside (0, 1), ``weights`` is empty, repeats a name or is a single text, or a weight is
            not positive and finite.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, it must lie between 0 and 1")
    if isinstance(weights, str):
        raise ValueError(f"weights is the text {weights!r}; give a sequence of names or a mapping to weights")
    table = dict(weights) if isinstance(weights, Mapping) else {name: 1.0 for name in weights}
    if not table or len(table) != len(weights):
        raise ValueError("the budget needs at least one check, and each name once")
    bad = {name: w for name, w in table.items() if not (w > 0 and math.isfinite(w))}
    if bad:
        raise ValueError(f"weights must be positive and finite: {bad}")
    # Rounded down, so that the shares never sum to more than alpha.
    total = math.fsum(table.values()) * (1 + 1e-12)
    return {name: alpha * weight / total for name, weight in table.items()}
