"""Every sampled token's surprisal rank is uniform under the scorer's own distribution (docs/mathematics.md §8)."""

from __future__ import annotations

import numpy as np

from pytest_entropy.checks.base import TILT, Check, Given, Runs
from pytest_entropy.stats import CheckOutcome, check_uniform_pit

RANKS, SPREAD = "arrays.ranks", "arrays.surprisal_sd"


def temperature_in_ranks(runs: Runs) -> float | None:
    """The weighted mean shift of normal scores of responses drawn at ``TEMPERATURE``, to the order of the tilt.

    The mean surprisal of a token falls by tilt times its variance, that is by tilt sd_k of its own spreads; the
    check weighs tokens by sd_k.
    """
    spread = np.concatenate([run.array(SPREAD) for run in runs])
    total = float(spread.sum())
    return TILT * float(np.square(spread).sum()) / total if total > 0 else None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the ranks of all tokens, weighed by the spread of their surprisal."""
    return check_uniform_pit(
        np.concatenate([run.array(RANKS) for run in runs]),
        np.concatenate([run.array(SPREAD) for run in runs]),
        alpha=given.share,
        name=check.name,
        null=check.claim,
        unit="standard deviations of token surprisal",
        likely_causes=check.likely_causes,
        effect_of_interest=temperature_in_ranks(runs),
    )


CHECK = Check(
    name="surprisal_identity",
    claim="sampled tokens follow the scored distribution, so that E[sum(-log pi - H)] is 0",
    likely_causes="sampler and scorer differ (temperature, truncation, penalty, dropout), or the end token is masked "
    "out because pad = EOS",
    needs=("asked", RANKS, SPREAD),
    judge=judge,
    asks=("ranks",),
    statistical=True,
    effect=temperature_in_ranks,
)
