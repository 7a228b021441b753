"""The headline: entropy falls, rises, or no change is seen, with both errors of delta_h1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import Measurement, PromptErrors, ScalingFit, pool, prompt_errors
from pytest_entropy.stats.intervals import too_few
from pytest_entropy.stats.measurement import OVER_UPDATES

STILL = "no change: the update moves nothing"


def measurement(run: RunRecord) -> Measurement:
    """A run's delta_h1 with both errors, and the skewness and B_U that their intervals depend on."""
    return replace(Measurement.of(run).with_skew_of(run.per_prompt), update_prompts=len(run.update.prompts))


def change(measured: Measurement, unit: str, *, confidence: float) -> tuple[str, str]:
    """(what the entropy does, how well that is known), in words.

    The sign is claimed where the interval at ``confidence``, given the update batch, does not hold 0; where the error
    over update batches is known and its interval holds 0, or has too few prompts, the second part says so.

    >>> what, known = change(Measurement(-0.0253, 0.001, 64), "nats/response", confidence=0.95)
    >>> what
    'entropy falls by 0.0253 nats/response'
    >>> known
    'δH₁ = -0.0253 ± 0.0010 for this update batch'

    Args:
        measured: delta_h1 with its errors.
        unit: its unit in words.
        confidence: of both intervals, in (0, 1).
    """
    if measured.value == 0 and not measured.se:
        return STILL, ""
    known = f"δH₁ = {measured.in_words()}"
    given, total = measured.ci(confidence), measured.ci_total(confidence)
    over_updates = None if measured.single_batch or total is None or not _holds_zero(total) else _ci(total, confidence)
    if given is None:
        few = "" if measured.se is None else too_few(measured.prompts)
        return ("change of uncertain sign", f"{known}, {few}") if few else ("change of unknown error", known)
    if _holds_zero(given):
        more = f", nor is one {OVER_UPDATES} ({over_updates})" if over_updates else ""
        return "no change seen", f"{known}, {_ci(given, confidence)}{more}"
    way = "falls" if measured.value < 0 else "rises"
    few = too_few(measured.smaller_batch) if measured.second_error and measured.se_total is not None else ""
    more = f", but {OVER_UPDATES} its sign is not certain ({over_updates or few})" if over_updates or few else ""
    return f"entropy {way} by {abs(measured.value):.3g} {unit}", known + more


def errors_by_prompts(runs: Sequence[RunRecord]) -> PromptErrors | None:
    """The error of one run in its two meanings, for prompts like these and for these prompts.

    It is of the runs at the largest B_E, with the variance between answers to one prompt where prompts recur over
    these runs; None with replacement, for single batches, and where the runs lack a number.

    Args:
        runs: records of one experiment's runs.
    """
    largest = max((run.B_E for run in runs), default=0)
    some = [run for run in runs if largest == run.B_E and run.mode == "two_batch"]
    errors = [run.se_conditional for run in some if run.se_conditional is not None]
    fractions = [run.sampling_fraction for run in some if run.sampling_fraction is not None]
    if not errors or not fractions:
        return None
    se = float(np.sqrt(np.mean(np.square(errors))))
    prompts = [run.prompts for run in some if run.prompts is not None]
    scalars = [np.asarray(run.per_prompt, dtype=float) for run in some]
    return prompt_errors(se, largest, max(fractions), scalars, prompts)


def prompts_in_words(runs: Sequence[RunRecord]) -> str:
    """What the error of a run refers to, where its prompts are a large share of a small set; else empty."""
    errors = errors_by_prompts(runs)
    return "" if errors is None else errors.in_words()


def _holds_zero(ci: tuple[float, float]) -> bool:
    return ci[0] <= 0 <= ci[1]


def _ci(ci: tuple[float, float], confidence: float) -> str:
    return f"{100 * confidence:g}% CI [{ci[0]:.3g}, {ci[1]:.3g}]"


@dataclass(frozen=True)
class FitErrors:
    """Errors over update batches: of the mean at each B_E, and of the fit's a; None where they were not asked for."""

    mean_se_total: dict[str, float | None]
    se_a_total: float | None = None


def errors_of_the_fit(runs: Sequence[RunRecord], fit: ScalingFit | None) -> tuple[str, FitErrors]:
    """The errors over update batches of a scaling fit, in words (empty where not asked for) and for its record.

    a is a mean of the runs, with weights that add up to 1, so that the update batch's part of the variance enters
    it whole; in b, whose weights add up to 0, it cancels.

    Args:
        runs: records of one experiment's runs.
        fit: the fit to them; None where there is none.
    """
    measured = [Measurement.of(run) for run in runs]
    whole = pool(measured)
    sizes = sorted({run.B_E for run in runs}) if fit is None else fit.batch_sizes
    by_size = {str(size): pool([one for one in measured if one.prompts == size]).se_total for size in sizes}
    if fit is None or fit.a is None or fit.se_a is None or whole.single_batch:
        return "", FitErrors(by_size)
    a = replace(whole, value=fit.a, se=fit.se_a)
    if not a.second_error:
        return "", FitErrors(by_size)
    return f"a {a.second_error} {OVER_UPDATES}", FitErrors(by_size, a.se_total)
