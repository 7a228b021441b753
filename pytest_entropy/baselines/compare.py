"""Compare each quantity with the baseline: an interval on its difference, paired by seed, with an error rate.

- ``delta_h1``: paired differences eta s_n (now) - eta s_n (baseline) over all prompts of the runs that both have.
- ``signal_to_noise``: log of (spread over mean) of s_n now against then, through jackknife pseudo-values paired
  by prompt; where these reject, swapping now and then at random within pairs has to reject, too (``noise.py``).
- ``entropy``: means over runs weighted by B_E, by Student's t on the runs' own standard errors as if independent,
  which is conservative where seeds coincide (a response's entropy is bounded, so its mean has no heavy tail).

delta_h1 is conditional on the update batch: if that drew other responses, delta_h1 differs for a reason that is
no regression, and the comparison is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from pytest_entropy.baselines.noise import log_noise_pseudo_values, swap_p_value
from pytest_entropy.baselines.rules import Rule
from pytest_entropy.baselines.side_errors import side_errors
from pytest_entropy.records.baseline import BaselineRun, Snapshot
from pytest_entropy.records.comparison import SideErrors
from pytest_entropy.stats import CheckOutcome, check_equivalent
from pytest_entropy.stats.intervals import two_sided_quantile
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE, OVER_BATCHES

# (a run of the baseline, the same run measured now)
Pair = tuple[BaselineRun, BaselineRun]
POINTS_TO = {
    "delta_h1": "the update direction or the estimator: a factor, a sign, an advantage, optimizer state",
    "entropy": "the sampler or the entropy itself: temperature, end tokens, truncation",
    "signal_to_noise": "the estimator's variance: a baseline lost, or dependent prompts",
}


@dataclass(frozen=True)
class Compared:
    """The comparison of one quantity.

    Attributes:
        rule: the rule that judged it.
        before, after: its value in the baseline and now, in its unit.
        margin: the largest difference that is tolerated, in the outcome's unit.
        outcome: the interval on the difference, and the verdict.
        scope: which batches the interval is over; empty for entropy, which depends on no update.
        errors_before, errors_after: both standard errors of delta_h1; None of other quantities.
    """

    rule: Rule
    before: float | None
    after: float | None
    margin: float | None
    outcome: CheckOutcome
    scope: str = ""
    errors_before: SideErrors | None = None
    errors_after: SideErrors | None = None


def paired_runs(before: Snapshot, after: Snapshot) -> list[Pair]:
    """Pairs of runs (baseline, now) with the same seed, B_E, run number and number of scalars, in order.

    Args:
        before, after: the snapshots of the baseline and of now.
    """
    old = {run.key: run for run in before.runs}
    return [
        (old[run.key], run)
        for run in after.runs
        if run.key in old and len(old[run.key].per_prompt) == len(run.per_prompt)
    ]


def compare(before: Snapshot, after: Snapshot, rules: Sequence[Rule], *, alpha: float) -> list[Compared]:
    """The comparison of two snapshots, one entry per rule.

    Args:
        before, after: the snapshots of the baseline and of now.
        rules: what counts as a regression, one rule per quantity.
        alpha: the chance, in (0, 1), that any rule fails on equal experiments; shared among the rules.
    """
    pairs = paired_runs(before, after)
    share = alpha / max(1, len(rules))
    same_update = before.update == after.update
    comparisons = [_compare_one(rule, pairs, share, same_update, after.unit) for rule in rules]
    single = after.objective.get("probe.mode") == "u_statistic"
    scope = OVER_BATCHES if single else FOR_THIS_UPDATE
    errors = [side_errors([pair[side] for pair in pairs], single_batch=single) for side in (0, 1)]
    scoped = [one if one.rule.quantity == "entropy" else replace(one, scope=scope) for one in comparisons]
    return [
        replace(one, errors_before=errors[0], errors_after=errors[1])
        if one.rule.quantity == "delta_h1" and one.outcome.effect is not None
        else one
        for one in scoped
    ]


def _compare_one(rule: Rule, pairs: Sequence[Pair], alpha: float, same_update: bool, unit: str) -> Compared:
    if not pairs:
        return _undecided(rule, alpha, "no run in common: take the same --entropy-seed, B_E values and runs")
    if rule.quantity != "entropy" and not same_update:
        return _undecided(
            rule, alpha, "the update batch drew other responses or rewards, and δH₁ is conditional on it: measure both "
            "on one machine with the same --entropy-seed, prompts and reward",
        )  # fmt: skip
    measure = {"delta_h1": _delta_h1, "entropy": _entropy, "signal_to_noise": _signal_to_noise}[rule.quantity]
    return measure(rule, pairs, alpha, unit)


def _undecided(rule: Rule, alpha: float, reason: str) -> Compared:
    outcome = CheckOutcome(
        f"compare_{rule.quantity}", _null(rule), None, None, alpha, None, None, "", 0, "inconclusive", None, None, None,
        reason,
    )  # fmt: skip
    return Compared(rule, None, None, None, outcome)


def _null(rule: Rule) -> str:
    return f"{rule.quantity} is what it was"


def _delta_h1(rule: Rule, pairs: Sequence[Pair], alpha: float, unit: str) -> Compared:
    old, new = _scaled(pairs, 0), _scaled(pairs, 1)
    return _judge(rule, float(old.mean()), float(new.mean()), new, old, alpha, unit)


def _scaled(pairs: Sequence[Pair], side: int) -> np.ndarray:
    return np.concatenate([pair[side].eta * np.asarray(pair[side].per_prompt, dtype=float) for pair in pairs])


def _signal_to_noise(rule: Rule, pairs: Sequence[Pair], alpha: float, unit: str) -> Compared:
    old, new = _scaled(pairs, 0), _scaled(pairs, 1)
    earlier, later = (float(x.std(ddof=1) / abs(x.mean())) if x.mean() and x.std() > 0 else None for x in (old, new))
    if earlier is None or later is None or len(old) < 3:
        reason = "s_n has no spread, or a mean of exactly zero: take more prompts, or another update batch"
        return _undecided(rule, alpha, reason)
    before, after = log_noise_pseudo_values(old), log_noise_pseudo_values(new)
    comparison = _judge(rule, earlier, later, after, before, alpha, "log of the ratio")
    if comparison.outcome.verdict != "fail":
        return comparison
    p = swap_p_value(old, new, alpha=alpha)
    p = p if comparison.outcome.p_value is None else max(p, comparison.outcome.p_value)
    outcome = replace(comparison.outcome, p_value=p, verdict="fail" if p < alpha else "pass")
    return replace(comparison, outcome=outcome)


def _judge(
    rule: Rule, before: float, after: float, new: np.ndarray, old: np.ndarray, alpha: float, unit: str
) -> Compared:
    margin = rule.margin(before)
    if margin <= 0:
        return _undecided(
            rule, alpha, "the baseline is exactly zero, so a share of it is no margin: give an absolute one"
        )
    outcome = check_equivalent(
        new, old, margin=margin, alpha=alpha, name=f"compare_{rule.quantity}", null=_null(rule), unit=unit,
        likely_causes=POINTS_TO[rule.quantity],
    )  # fmt: skip
    return Compared(rule, before, after, margin, _by_rule(rule, outcome))


def _entropy(rule: Rule, pairs: Sequence[Pair], alpha: float, unit: str) -> Compared:
    sizes = np.array([len(new.per_prompt) for _, new in pairs], dtype=float)
    weights = sizes / sizes.sum()
    old, new = (np.array([pair[side].entropy_mean for pair in pairs]) for side in (0, 1))
    before, after = float(weights @ old), float(weights @ new)
    difference, margin = after - before, rule.margin(before)
    spread = [[se for pair in pairs if (se := pair[side].entropy_se) is not None] for side in (0, 1)]
    if margin <= 0 or any(len(side) < len(pairs) for side in spread):
        return _undecided(rule, alpha, "a run has no standard error of the entropy, or the entropy is zero")
    se = math.sqrt(float(np.sum(weights**2 * (np.square(spread[0]) + np.square(spread[1])))))
    n = int(sizes.sum())
    outside = max(0.0, abs(difference) - margin)
    if difference == 0 or se == 0:
        ci, p = (difference, difference), float(outside == 0)
    else:
        reach = se * two_sided_quantile(0.95, n - 1)
        ci = (difference - reach, difference + reach)
        p = float(min(1.0, 2 * scipy.stats.t.sf(outside / se, n - 1)))
    inside = -margin < ci[0] and ci[1] < margin
    outcome = CheckOutcome(
        "compare_entropy", f"{_null(rule)}, to {margin:g} {unit}", None, p, alpha, difference, ci, unit, n,
        "fail" if p < alpha else "pass" if inside else "inconclusive", None, margin, None, POINTS_TO["entropy"],
    )  # fmt: skip
    return Compared(rule, before, after, margin, _by_rule(rule, outcome))


def _by_rule(rule: Rule, outcome: CheckOutcome) -> CheckOutcome:
    """The outcome under a ``difference`` rule: pass unless a difference in a direction that counts is shown."""
    if rule.kind == "equivalence":
        return outcome
    other_direction = outcome.effect is not None and outcome.effect * rule.direction < 0
    if outcome.verdict == "inconclusive" or (outcome.verdict == "fail" and other_direction):
        return replace(outcome, verdict="pass")
    return outcome
