"""What was reported follows from what was recorded: exact comparisons of a run with itself and with its siblings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pytest_entropy.checks.measured import needs_measurements, number, numbers, rows, was_asked
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome, check_within_noise

# Relative to the sum of absolute contributions; float32 passes of different shape agree to 1e-5 of it.
SCALAR_TOLERANCE, SCALAR_ROUNDINGS = 1e-3, 16
SUMMING_TOLERANCE = 1e-4
# Nats per token; below that, as in a policy that has collapsed, rounding is a share of the tokens, not of the entropy.
LITTLE = 0.01
# Of a step taken in float64.
ORACLE_TOLERANCE = 1e-6
NOISE_FLOOR = 1e-9
# So many of a batch's first prompts are compared between runs, where more orders of them than this are possible.
FIRST, MANY = 16, 1e12
NULL = (
    "delta_h1 and its errors follow from s_n and the rate, a response ends with its first end token, which counts, E "
    "and U share no prompt, runs draw their own, responses and rewards belong to their prompts, and the update is the "
    "one that was recorded"
)
POINTS_TO = (
    "ddof or a division by B_E, the end token masked out because pad = EOS or ignored by the sampler, E drawn from U, "
    "a learning rate that is neither configured nor stored, a stale update, a temperature other than the configured "
    "one, rewards or responses of another prompt, an entropy that is not the tokens' sum, another reported mean that "
    "is not its record's, batches smaller than configured, prompts drawn twice or by two runs alike (seeds), "
    "responses that copy one another, action values learnt from E itself, entropy per token that is not the ratio's "
    "jackknife, or (of a single batch) the products of a prompt with itself kept, which is a bias of order 1/B, or an "
    "estimator or an optimizer's step other than its definition"
)
# What is compared, and by how much the two sides differ.
Gap = tuple[str, float]


def rounding(runs: Sequence[RunRecord]) -> float:
    """Unit roundoff of the coarsest weights.

    Raises:
        Missing: a run did not record it.
    """
    return max(numbers(runs, "rounding"))


@needs_measurements("bookkeeping", NULL)
def bookkeeping(runs: Sequence[RunRecord], *, with_replacement: bool) -> CheckOutcome:
    """What was reported follows from the scalars; responses end with an end token; E and U are disjoint."""
    gaps = [gap for run in runs for gap in _of_a_run(run, with_replacement=with_replacement)]
    if not with_replacement:
        gaps.append(("runs drawn alike", _drawn_alike(runs)))
    outcome = check_within_noise(
        [gap for _, gap in gaps],
        noise_floor=NOISE_FLOOR,
        name="bookkeeping",
        null=NULL,
        unit="relative, or counts",
        likely_causes=POINTS_TO,
    )
    if outcome.verdict != "fail":
        return outcome
    worst: dict[str, float] = {}
    for name, gap in gaps:
        if not abs(gap) <= NOISE_FLOOR:
            worst[name] = max(worst.get(name, abs(gap)), abs(gap))
    found = ", ".join(f"{name} ({gap:.3g})" for name, gap in sorted(worst.items(), key=lambda item: -item[1]))
    return replace(outcome, reason=f"these do not follow: {found}")


def _of_a_run(run: RunRecord, *, with_replacement: bool) -> Iterator[Gap]:
    s = run.eta * np.asarray(run.per_prompt)
    se = s.std(ddof=1) / len(s) ** 0.5
    size = float(np.abs(s).mean()) or 1.0
    yield "delta_h1", abs(run.delta_h1 - s.mean()) / size
    yield "se_conditional", abs(number(run, "se_conditional", of="") - se) / size
    yield "variance_conditional", abs(number(run, "variance_conditional", of="") - se**2) / size**2
    for name in ("unterminated", "past_the_end", "copies"):
        yield name, number(run, name)
    yield "eta_gap", number(run, "eta_gap", of="update")
    if run.mode == "two_batch":
        # A direction without a fingerprint was held against its norm alone.
        number(run, "fingerprint", of="update")
        yield "direction_gap", number(run, "direction_gap")
    else:
        yield from _single_batch(run, size)
    if not with_replacement:
        yield from _shared(run)
    yield from _rows(run)
    yield from _sampled(run)
    yield from _update(run)
    yield from _total_variance(run)


def _rows(run: RunRecord) -> Iterator[Gap]:
    """Rewards and rows that belong to another prompt, and other settings, where a run was to look."""
    if was_asked(run, "definition"):
        for name in ("temperature_gap", "size_gap", "other_prompts"):
            yield name, number(run, name)
        yield "other_prompts of the update", number(run, "other_prompts", of="update")
        if run.update.rewards_rechecked is not False:
            yield "reward_gap", number(run, "reward_gap", of="update")
    if run.unit == "nats per token" and run.mode == "two_batch":
        yield "unit_gap", _beyond(number(run, "unit_gap"), SUMMING_TOLERANCE)


def _shared(run: RunRecord) -> Iterator[Gap]:
    """How many prompts E has in common with U, and how many come twice in either."""
    own = rows(run, "prompts")
    yield "prompts repeated in the update", float(len(own) - len(set(own)))
    # A single batch is its own update batch, and shares its prompts by design.
    if run.mode == "two_batch":
        yield "shared_with_update", number(run, "shared_with_update")
        yield "repeated", number(run, "repeated")


def _drawn_alike(runs: Sequence[RunRecord]) -> float:
    """How many runs have another one's seed, or begin with the same prompts in the same order, where a run has so many
    prompts that chance does not do that."""
    first = [number(run, "first_prompts") for run in runs if run.mode == "two_batch" and _many_orders(run)]
    return float(len(runs) - len({run.seed for run in runs}) + len(first) - len(set(first)))


def _many_orders(run: RunRecord) -> bool:
    distinct = run.B_E - int(number(run, "repeated"))
    return math.perm(distinct, min(FIRST, distinct)) > MANY


def _update(run: RunRecord) -> Iterator[Gap]:
    """Gaps of what is said of the update's rewards from the rewards, and of the run's rate from the update's."""
    rewards = np.asarray(rows(run, "rewards"), dtype=float)
    size = float(np.abs(rewards).max()) or 1.0
    for name, value, scale in (
        ("reward_mean", rewards.mean(), size),
        ("reward_std", rewards.std(ddof=1), size),
        ("degenerate_groups", (np.ptp(rewards, axis=1) == 0).mean(), 1.0),
        ("eta", run.eta, run.eta or 1.0),
    ):
        yield f"{name} of the update", abs(number(run, name, of="update") - float(value)) / scale


def _sampled(run: RunRecord) -> Iterator[Gap]:
    """Gaps of reported means from the sampler's own record, beyond the rounding of two passes."""
    compared = [("length", "length_mean", number(run, "length_mean", of="")), ("ended", "ended_share", 1.0)]
    if run.unit == "nats per response":
        nats = max(number(run, "entropy_mean", of=""), LITTLE * number(run, "length_mean", of=""))
        compared += [("entropy", "entropy_mean", nats), ("entropy_se", "entropy_se", nats)]
    floor = max(SUMMING_TOLERANCE, SCALAR_ROUNDINGS * rounding([run]))
    for name, reported, scale in compared:
        gap = abs(number(run, reported, of="") - number(run, f"{name}_sampled")) / (scale or 1.0)
        yield reported, _beyond(gap, floor)


def _single_batch(run: RunRecord, size: float) -> Iterator[Gap]:
    """Gaps of a single batch's delta_h1 from the U-statistic of its recorded parts, relative to ``size``, of its error
    from the variance of the row means, of one prompt from its definition and of u from a real optimizer's step."""
    zeta, gap, blocks, plug_in, diagonal = (
        number(run, name, of="u_statistic") for name in ("zeta_1", "diagonal_gap", "blocks", "plug_in", "diagonal")
    )
    yield "oracle_gap", _beyond(number(run, "oracle_gap", of="update"), ORACLE_TOLERANCE)
    yield "diagonal_gap", _beyond(gap, max(SCALAR_TOLERANCE, SCALAR_ROUNDINGS * rounding([run])))
    spread = abs(number(run, "variance_conditional", of="") - 4 * run.eta**2 * zeta / run.B_E) / size**2
    yield "zeta_1", _beyond(spread, ORACLE_TOLERANCE)
    value = (blocks * plug_in - diagonal) / (blocks - 1)
    # The two sides sum float32 products in different orders; a diagonal that was kept is of order one.
    yield "U-statistic", _beyond(abs(run.delta_h1 - run.eta * value) / size, SUMMING_TOLERANCE)


def _total_variance(run: RunRecord) -> Iterator[Gap]:
    """Gaps of the variance over both batches from its parts, relative to the conditional one, where it was asked for
    and the update batch has prompts to vary."""
    if not was_asked(run, "total_variance") or len(rows(run, "prompts")) < 2:
        return
    conditional = number(run, "variance_conditional", of="")
    batch, update, shared = (
        number(run, name, of="variance_parts") for name in ("entropy_batch", "update_batch", "interaction")
    )
    total = number(run, "variance_total", of="")
    yield "variance_total", abs(total - (batch + update - shared)) / (conditional or 1.0)
    yield "entropy_batch", abs(batch - conditional) / (conditional or 1.0)


def _beyond(gap: float, tolerance: float) -> float:
    """The gap where it is more than rounding, else 0."""
    return 0.0 if gap <= tolerance else gap
