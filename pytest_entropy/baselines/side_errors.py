"""Both standard errors of one side of a comparison: of the mean over all prompts of the compared runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from pytest_entropy.records.baseline import BaselineRun
from pytest_entropy.records.comparison import SideErrors
from pytest_entropy.stats.pooling import mean_update_part


def side_errors(runs: Sequence[BaselineRun], *, single_batch: bool) -> SideErrors | None:
    """The errors of the mean of delta_h1 weighted by B_E; of one run, its own. None where a run has no error.

    With weights w, V_X the variance of a run given the update, and runs that each draw a share f of one set of prompts,
    the variance given the update is sum w^2 V_X + (1 - sum w^2) mean(f V_X): of runs of one size, that of
    :func:`~pytest_entropy.stats.pool`.  The update batch's part, the mean of V_Y - T by prompts, does not shrink with
    runs.

    Args:
        runs: the compared runs of one side.
        single_batch: whether each run draws one batch for update and entropy, so that its error leaves nothing out.
    """
    errors = [run.se_conditional for run in runs if run.se_conditional is not None]
    if not runs or len(errors) < len(runs):
        return None
    if len(runs) == 1:
        return SideErrors(se_conditional=errors[0], se_total=None if single_batch else runs[0].se_total)
    prompts = sum(run.B_E for run in runs)
    weights = [run.B_E / prompts for run in runs]
    own = math.fsum((w * error) ** 2 for w, error in zip(weights, errors, strict=True))
    # Runs that did not record their share are taken to share hardly a prompt.
    shares = [run.sampling_fraction for run in runs if run.sampling_fraction is not None]
    fraction = max(shares, default=None)
    shared = fmean(fraction * error**2 for error in errors) if fraction is not None else None
    variance = own if shared is None else own + (1 - math.fsum(w**2 for w in weights)) * shared
    parts = [
        (run.B_E, run.variance_total - error**2)
        for run, error in zip(runs, errors, strict=True)
        if run.variance_total is not None and not single_batch
    ]
    # Runs along one update batch share its part, which the larger ones know better.
    total = math.sqrt(max(variance, variance + mean_update_part(parts))) if parts else None
    return SideErrors(se_conditional=math.sqrt(variance), se_total=total)
