"""What was reported follows from what was recorded: exact comparisons of a run with itself and with its siblings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_entropy.stats import CheckOutcome, check_within_noise

if TYPE_CHECKING:
    from pytest_entropy.probe import ProbeResult

# Relative to the sum of absolute contributions; float32 passes of different shape agree to 1e-5 of it.
SCALAR_TOLERANCE, SCALAR_ROUNDINGS = 1e-3, 16
SUMMING_TOLERANCE = 1e-4
# Nats per token; below that, as in a policy that has collapsed, rounding is a share of the tokens, not of the entropy.
LITTLE = 0.01
# Of a step taken in float64.
ORACLE_TOLERANCE = 1e-6


def rounding(runs: Sequence[ProbeResult]) -> float:
    """Unit roundoff of the coarsest weights, 0 where it was not recorded."""
    return max(run.agreement.get("rounding", 0.0) for run in runs)


def bookkeeping(runs: Sequence[ProbeResult], *, with_replacement: bool) -> CheckOutcome:
    """What was reported follows from the scalars; responses end with an end token; E and U are disjoint."""
    gaps = []
    for run in runs:
        s = run.eta * np.asarray(run.per_prompt)
        se = s.std(ddof=1) / len(s) ** 0.5
        size = np.abs(s).mean() or 1.0
        gaps += [abs(run.delta_h1 - s.mean()) / size, abs((run.se_conditional or 0.0) - se) / size]
        gaps += [abs((run.variance_conditional or 0.0) - se**2) / size**2]
        # A single batch is its own update batch, and shares its prompts by design.
        shared = 0.0 if with_replacement else _shared(run)
        ends = run.agreement["unterminated"] + run.agreement.get("past_the_end", 0.0)
        gaps += [ends, shared, run.agreement.get("direction_gap", 0.0), run.update.get("eta_gap", 0.0)]
        gaps += [*_single_batch(run, size), *_total_variance(run), *_rows(run), *_sampled(run), *_update(run)]
    gaps += [] if with_replacement else [_drawn_alike(runs)]
    return check_within_noise(
        gaps,
        noise_floor=1e-9,
        name="bookkeeping",
        null="delta_h1 and its errors follow from s_n and the rate, a response ends with its first end token, which "
        "counts, E and U share no prompt, runs draw their own, responses and rewards belong to their prompts, and the "
        "update is the one that was recorded",
        unit="relative, or counts",
        points_to="ddof or a division by B_E, the end token masked out because pad = EOS or ignored by the sampler, E "
        "drawn from U, a learning rate that is neither configured nor stored, a stale update, a temperature other than "
        "the configured one, rewards or responses of another prompt, an entropy that is not the tokens' sum, another "
        "reported mean that is not its record's, batches smaller than configured, prompts drawn twice or by two runs "
        "alike (seeds), responses that copy one another, action values learnt from E itself, entropy per token that is "
        "not the ratio's jackknife, or (of a single batch) the products of a prompt with itself kept, which is a bias "
        "of order 1/B, or an estimator or an optimizer's step other than its definition",
    )


def _rows(run: ProbeResult) -> list[float]:
    """Rewards and rows that belong to another prompt, and other settings, where a run looked."""
    names = ("temperature_gap", "size_gap", "other_prompts", "copies")
    found = [run.agreement.get(name, 0.0) for name in names]
    found += [gap if (gap := run.agreement.get("unit_gap", 0.0)) > SUMMING_TOLERANCE else 0.0]
    return [*found, run.update.get("other_prompts", 0.0), run.update.get("reward_gap") or 0.0]


def _shared(run: ProbeResult) -> float:
    """How many prompts E has in common with U, and how many come twice in either."""
    own = run.update["prompts"]
    found = [run.agreement.get(name, 0.0) for name in ("shared_with_update", "repeated")]
    return sum(found) + len(own) - len(set(own))


def _drawn_alike(runs: Sequence[ProbeResult]) -> float:
    """How many runs have another one's seed, or begin with the same prompts in the same order, where a run has so many
    prompts that chance does not do that."""
    first = [run.agreement["first_prompts"] for run in runs if "first_prompts" in run.agreement]
    return float(len(runs) - len({run.seed for run in runs}) + len(first) - len(set(first)))


def _update(run: ProbeResult) -> list[float]:
    """Gaps of what is said of the update's rewards from the rewards, and of the run's rate from the update's."""
    update, rewards = run.update, np.asarray(run.update["rewards"], dtype=float)
    means = {
        "reward_mean": rewards.mean(),
        "reward_std": rewards.std(ddof=1),
        "degenerate_groups": (np.ptp(rewards, axis=1) == 0).mean(),
        "eta": run.eta,
    }
    size = np.abs(rewards).max() or 1.0
    scale = {"eta": run.eta or 1.0, "degenerate_groups": 1.0}
    return [abs(update[name] - value) / scale.get(name, size) for name, value in means.items() if name in update]


def _sampled(run: ProbeResult) -> list[float]:
    """Gaps of reported means from the sampler's own record, beyond the rounding of two passes."""
    scales = {"length": run.length_mean, "ended": 1.0}
    if run.unit == "nats per response":
        nats = max(run.entropy_mean, LITTLE * run.length_mean)
        scales |= {"entropy": nats, "entropy_se": nats}
    reported = {
        "entropy": run.entropy_mean, "entropy_se": run.entropy_se, "length": run.length_mean, "ended": run.ended_share
    }  # fmt: skip
    floor = max(SUMMING_TOLERANCE, SCALAR_ROUNDINGS * rounding([run]))
    gaps = []
    for name, scale in scales.items():
        sampled, own = run.agreement.get(f"{name}_sampled"), reported[name]
        if sampled is not None and own is not None and scale:
            gaps.append(abs(own - sampled) / scale)
    return [gap if gap > floor else 0.0 for gap in gaps]


def _single_batch(run: ProbeResult, size: float) -> list[float]:
    """Gaps of a single batch's delta_h1 from the U-statistic of its recorded parts, relative to ``size``, of its error
    from the variance of the row means, of one prompt from its definition and of u from a real optimizer's step."""
    if not run.u_statistic:
        return []
    parts = run.u_statistic
    spread = 4 * run.eta**2 * parts["zeta_1"] / run.B_E
    judged = [
        (run.update["oracle_gap"], ORACLE_TOLERANCE),
        (parts["diagonal_gap"], max(SCALAR_TOLERANCE, SCALAR_ROUNDINGS * rounding([run]))),
        (abs((run.variance_conditional or 0.0) - spread) / size**2, ORACLE_TOLERANCE),
    ]
    blocks = parts["blocks"]
    value = (blocks * parts["plug_in"] - parts["diagonal"]) / (blocks - 1)
    gap = abs(run.delta_h1 - run.eta * value) / size
    # The two sides sum float32 products in different orders; a diagonal that was kept is of order one.
    judged.append((gap, SUMMING_TOLERANCE))
    return [gap if gap > tolerance else 0.0 for gap, tolerance in judged]


def _total_variance(run: ProbeResult) -> list[float]:
    """Gaps of the variance over both batches from its parts, relative to the conditional one, where there is one."""
    parts = run.variance_parts
    if not parts or run.variance_total is None or not run.variance_conditional:
        return []
    whole = parts["entropy_batch"] + parts["update_batch"] - parts["interaction"]
    gaps = (run.variance_total - whole, parts["entropy_batch"] - run.variance_conditional)
    return [abs(gap) / run.variance_conditional for gap in gaps]
