"""Numbers of one ``results.json`` against one another: a file that was changed by hand contradicts itself."""

from __future__ import annotations

import math

from pytest_entropy.records.paths import RESULTS
from pytest_entropy.reports.audit.arithmetic import ROUNDING, agree, mean, size, spread, standard_error
from pytest_entropy.reports.audit.ledger import Ledger, lookup, numbers
from pytest_entropy.reports.audit.stored_run import StoredRun

# The sampler and the scorer are two passes; float32 rounding of both, relative.
TWO_PASSES, ROUNDINGS = 1e-3, 32
SAMPLED = {
    "entropy_mean": "entropy_sampled",
    "entropy_se": "entropy_se_sampled",
    "length_mean": "length_sampled",
    "ended_share": "ended_sampled",
}


def contradictions(ledger: Ledger, run: StoredRun) -> None:
    """Note the numbers of the run that do not follow from its others.

    Args:
        ledger: where they are noted.
        run: the run.
    """
    file = f"{run.directory}/{RESULTS}"
    _delta_h1(ledger, file, run)
    _reads(ledger, file, run)
    _total_variance(ledger, file, run)
    _update(ledger, file, run)
    _means_of_responses(ledger, file, run)


def _delta_h1(ledger: Ledger, file: str, run: StoredRun) -> None:
    eta_s = run.contributions
    if len(eta_s) != run.B_E:
        ledger.differs(file, f"B_E is {run.B_E}, and per_prompt has {len(eta_s)} numbers")
        return
    floor = ROUNDING * size(eta_s)
    ledger.number(
        file, "delta_h1", run.number("delta_h1"), mean(eta_s), within=floor, says="eta times the mean of per_prompt is"
    )
    se = standard_error(eta_s)
    of_scalars = "eta times the standard error of per_prompt is"
    ledger.number(file, "se_conditional", run.number("se_conditional"), se, within=floor, says=of_scalars)
    variance = None if se is None else se**2
    reported = run.number("variance_conditional")
    if se is not None:
        floor = ROUNDING * size(eta_s) ** 2
    ledger.number(file, "variance_conditional", reported, variance, within=floor, says="the square of its error is")
    for name, values in (lookup(run.record, "diagnostics") or {}).items():
        if len(values) != run.B_E:
            ledger.differs(file, f"diagnostics.{name} has {len(values)} numbers, B_E is {run.B_E}")


def _reads(ledger: Ledger, file: str, run: StoredRun) -> None:
    """Of a run with companion reads: per_prompt is <X_n, u> less the prompt's read plus the mean of its companions'."""
    if not run.number("companions.count"):
        return
    plain = numbers((lookup(run.record, "diagnostics") or {}).get(run.record["estimator"]))
    own, others = (numbers(lookup(run.record, f"companions.{name}")) for name in ("own", "mean"))
    if not len(plain) == len(own) == len(others) == run.B_E:
        counts = f"{len(plain)} scalars, {len(own)} reads and {len(others)} means of companions"
        ledger.differs(file, f"B_E is {run.B_E}, and there are {counts}")
        return
    near = ROUNDING * max(map(size, (plain, own, others)))
    for n, (stated, s, x, c) in enumerate(zip(numbers(run.record["per_prompt"]), plain, own, others, strict=True)):
        ledger.number(file, f"per_prompt {n}", stated, s - x + c, within=near, says="its scalar and its reads give")


def _total_variance(ledger: Ledger, file: str, run: StoredRun) -> None:
    total, error = run.number("variance_total"), run.number("se_total")
    if total is None or run.is_single_batch:
        return
    parts = [run.number(f"variance_parts.{name}") for name in ("entropy_batch", "update_batch", "interaction")]
    known = [part for part in parts if part is not None]
    # The variance is at least each of its two large parts, which may stand for a smaller unbiased estimate.
    least = max([total, *known[:2]])
    # With companion reads V_X alone does: V_Y is of the vectors, and may exceed the variance.
    if run.number("companions.count"):
        least = max([total, *known[:1]])
    roots = [math.sqrt(total) if total >= 0 else None, *([math.sqrt(least)] if least >= 0 else [])]
    if not any(agree(error, root) for root in roots):
        ledger.number(file, "se_total", error, roots[0], says="the root of variance_total is")
    if len(known) == len(parts):
        expected = known[0] + known[1] - known[2]
        floor = ROUNDING * size(known)
        ledger.number(file, "variance_total", total, expected, within=floor, says="its parts V_X + V_Y - T give")


def _update(ledger: Ledger, file: str, run: StoredRun) -> None:
    rewards = [numbers(group) for group in lookup(run.record, "update.rewards") or []]
    stated = run.number("update.reward_mean")
    if not rewards or not all(rewards) or stated is None:
        return
    flat = [reward for group in rewards for reward in group]
    # Rewards are averaged as float32.
    near = 1e-5 * size(flat)
    from_rewards = "update.rewards give"
    ledger.number(file, "update.reward_mean", stated, mean(flat), within=near, says=from_rewards)
    equal = mean([float(min(group) == max(group)) for group in rewards])
    degenerate = run.number("update.degenerate_groups")
    if degenerate is not None:
        ledger.number(file, "update.degenerate_groups", degenerate, equal, says=from_rewards)
    sd = spread(flat)
    if sd is not None and (reported := run.number("update.reward_std")) is not None:
        ledger.number(file, "update.reward_std", reported, sd, within=1e-5 * (size(flat) + sd), says=from_rewards)


def _means_of_responses(ledger: Ledger, file: str, run: StoredRun) -> None:
    per_token = run.record.get("unit") == "nats per token"
    rounding = run.number("agreement.rounding")
    share = TWO_PASSES if rounding is None else max(TWO_PASSES, ROUNDINGS * rounding)
    nats, length = run.number("entropy_mean"), run.number("length_mean")
    for reported, sampled in SAMPLED.items():
        other = run.number(f"agreement.{sampled}")
        if other is None or (per_token and reported.startswith("entropy")):
            continue
        entropies = abs(nats or 1.0) + abs(length or 1.0)
        scale = {"entropy_mean": entropies, "entropy_se": entropies, "length_mean": length or 1.0}.get(reported, 1.0)
        says = "the sampler's own record gives"
        ledger.number(file, reported, run.number(reported), other, within=share * scale, says=says)
