"""The sanity checks of docs/mathematics.md §8 on the runs of an experiment, each a check with its error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_entropy.analyses import declared
from pytest_entropy.stats import (
    CheckOutcome,
    check_likelihood_ratio,
    check_mean_zero,
    check_se_calibration,
    check_uniform_pit,
    check_within_noise,
    signal_to_noise,
)

if TYPE_CHECKING:
    from pytest_entropy.fixtures import Runs
    from pytest_entropy.probe import ProbeResult

# The noise floor is measured: so many times the largest gap between a batch and its prompts computed alone, at
# least so many roundings of the weights' type, and at most the cap, so that a fault cannot raise its own floor.
FLOOR_FACTOR, FLOOR_ROUNDINGS, FLOOR_CAP, CAP_ROUNDINGS = 30, 64, 5e-4, 32
# Relative to the sum of absolute contributions; float32 passes of different shape agree to 1e-5 of it.
SCALAR_TOLERANCE, SCALAR_ROUNDINGS = 1e-3, 16
# Central differences of the loss carry rounding and curvature of about 1e-4; a wrong factor is far larger.
SLOPE_TOLERANCE = 1e-2
SUMMING_TOLERANCE = 1e-4
# Half-precision weights bury a small step's change in rounding: only a sign or a factor of two shows then.
HALF_PRECISION, SLOPE_TOLERANCE_HALF = 1e-4, 0.5


ALONE = ("alone_log_probs", "alone_entropies")


def noise_floor(runs: Sequence[ProbeResult]) -> float:
    """Nats by which two correct computations of one log-probability may differ here."""
    gaps = [run.agreement[name] for run in runs for name in ALONE if name in run.agreement]
    # Runs without the measurement are judged by the cap alone.
    if not gaps:
        return noise_cap(runs)
    measured = max(FLOOR_FACTOR * max(gaps), FLOOR_ROUNDINGS * rounding(runs))
    return min(measured, noise_cap(runs))


def noise_cap(runs: Sequence[ProbeResult]) -> float:
    """The largest noise floor that is believed."""
    return max(FLOOR_CAP, CAP_ROUNDINGS * rounding(runs))


def rounding(runs: Sequence[ProbeResult]) -> float:
    """Unit roundoff of the coarsest weights, 0 where it was not recorded."""
    return max(run.agreement.get("rounding", 0.0) for run in runs)


def score_identity(runs: Sequence[ProbeResult], *, alpha: float) -> CheckOutcome:
    """E[<grad log pi(t), u>] = 0, clustered by prompt: the scorer's policy is the sampler's."""
    scores = np.concatenate([run.diagnostics["score"] for run in runs])
    return check_mean_zero(
        scores,
        alpha=alpha,
        name="score_identity",
        null="the mean directional score E[<grad log pi, u>] is 0",
        unit="nats per unit of eta",
        points_to="sampler and scorer differ: temperature, top-k/top-p, repetition penalty, dropout, positions under "
        "left padding, or another adapter",
        declared_effect=declared.temperature_in_scores(runs),
    )


def surprisal_identity(runs: Sequence[ProbeResult], *, alpha: float) -> CheckOutcome:
    """Every sampled token's surprisal rank is uniform under the scorer's own distribution."""
    ranks = np.concatenate([run.arrays["ranks"] for run in runs])
    spread = np.concatenate([run.arrays["surprisal_sd"] for run in runs])
    return check_uniform_pit(
        ranks,
        spread,
        alpha=alpha,
        name="surprisal_identity",
        null="sampled tokens follow the scored distribution, so that E[sum(-log pi - H)] is 0",
        unit="standard deviations of token surprisal",
        points_to="sampler and scorer differ (temperature, truncation, penalty, dropout), or the end token is masked "
        "out because pad = EOS",
        declared_effect=declared.temperature_in_ranks(runs),
    )


def sampler_alternatives(runs: Sequence[ProbeResult], *, alpha: float) -> CheckOutcome:
    """The likelihood of the sampled tokens under the policy against that under named wrong samplers."""
    from pytest_entropy.alternatives import ALTERNATIVES  # needs torch, which collection must not load

    tables = np.sum([run.arrays["sampler_evidence"] for run in runs], axis=0)
    return check_likelihood_ratio(
        dict(zip(ALTERNATIVES, tables[:, 0].tolist(), strict=True)),
        dict(zip(ALTERNATIVES, tables[:, 1].tolist(), strict=True)),
        alpha=alpha,
        name="sampler_alternatives",
        null="sampled tokens are as likely under the policy as its own draws are",
        n=sum(len(run.arrays["ranks"]) for run in runs),
        declared=declared.ALTERNATIVE,
        points_to="a generation default left on in the sampler",
    )


def estimator_agreement(runs: Sequence[ProbeResult], *, alpha: float) -> CheckOutcome:
    """The runs' estimator and reinforce_loo estimate one gradient: their paired difference has mean 0."""
    difference = np.concatenate(
        [np.asarray(run.entropy_term) - np.asarray(run.diagnostics["reinforce_loo"]) for run in runs]
    )
    return check_mean_zero(
        difference,
        alpha=alpha,
        name="estimator_agreement",
        null=f"{runs[0].estimator} - reinforce_loo has mean 0 on the same rollouts",
        unit="nats per unit of eta",
        points_to="a wrong baseline, entropy-to-go off by a position, or a sign",
        declared_effect=declared.wrong_sign(runs),
    )


def se_calibration(runs: Sequence[ProbeResult], *, alpha: float, rng: np.random.Generator) -> CheckOutcome:
    """The spread of delta_h1 over runs with the same U is what the reported standard errors say."""
    return check_se_calibration(
        [np.asarray(run.per_prompt) for run in runs],
        [run.delta_h1 for run in runs],
        [run.se_conditional if run.se_conditional is not None else float("nan") for run in runs],
        scale=runs[0].eta,
        alpha=alpha,
        rng=rng,
        declared_effect=declared.CALIBRATION,
    )


def first_order_accuracy(runs: Sequence[ProbeResult], *, alpha: float) -> CheckOutcome:
    """delta_h1 is the slope of the entropy itself: s_n - (Delta_n(h) - Delta_n(-h)) / 2h has mean 0."""
    difference = np.concatenate(
        [np.asarray(run.entropy_term) - np.asarray(run.diagnostics["entropy_slope"]) for run in runs]
    )
    return check_mean_zero(
        difference,
        alpha=alpha,
        name="first_order_accuracy",
        null="s_n minus the importance-sampled slope of the entropy along u has mean 0",
        unit="nats per unit of eta",
        points_to="a sign or factor in the estimator, a wrong entropy-to-go, or a direction other than the one stepped",
        declared_effect=declared.wrong_factor(runs),
    )


def batch_invariance(runs: Sequence[ProbeResult]) -> CheckOutcome:
    """Padding, prompt sharing and the size of pieces change nothing beyond rounding."""
    return check_within_noise(
        [run.agreement[name] for run in runs for name in ALONE],
        noise_floor=noise_cap(runs),
        name="batch_invariance",
        null="a prompt computed alone and unpadded gives the same log-probabilities and entropies as in its batch",
        unit="nats",
        points_to="positions or masks under left padding, rows in another order, or a temperature missing in scoring",
    )


def definition(runs: Sequence[ProbeResult]) -> CheckOutcome:
    """s_n of one prompt per run, by every estimator, is what its definition gives in plain loops."""
    return check_within_noise(
        [run.agreement["definition"] for run in runs],
        noise_floor=max(SCALAR_TOLERANCE, SCALAR_ROUNDINGS * rounding(runs)),
        name="definition",
        null="s_n equals <X_n, u> computed from the estimator's definition, one unpadded response at a time",
        unit="relative to the sum of absolute contributions",
        points_to="entropy-to-go off by a position, a wrong baseline, sign or factor in the estimator, positions or "
        "masks under left padding, or a module whose parameters the fast derivative misses",
    )


def update_gradient(runs: Sequence[ProbeResult]) -> CheckOutcome:
    """<g, u> is the slope of the loss itself on U, by finite differences with token weights from plain loops."""
    return check_within_noise(
        [run.update["loss_slope_gap"] for run in runs],
        noise_floor=SLOPE_TOLERANCE if rounding(runs) < HALF_PRECISION else SLOPE_TOLERANCE_HALF,
        name="update_gradient",
        null="the update's gradient is that of the policy-gradient loss on U",
        unit="relative to the sum of absolute contributions",
        points_to="the sign or scale of the loss, advantages (ddof, baseline), token weights, or microbatch means "
        "summed as if equal-sized",
    )


def update_direction(runs: Sequence[ProbeResult]) -> CheckOutcome:
    """u is what a real torch optimizer does from the same state and gradient."""
    return check_within_noise(
        [run.update["oracle_gap"] for run in runs],
        noise_floor=1e-6,
        name="update_direction",
        null="the update direction equals a real optimizer's step",
        unit="relative",
        points_to="a sign, a missing bias correction, decay or clipping, or states of other parameters",
    )


def bookkeeping(runs: Sequence[ProbeResult], *, with_replacement: bool) -> CheckOutcome:
    """What was reported follows from the scalars; responses end with an end token; E and U are disjoint."""
    gaps = []
    for run in runs:
        s = run.eta * np.asarray(run.per_prompt)
        se = s.std(ddof=1) / len(s) ** 0.5
        size = np.abs(s).mean() or 1.0
        gaps += [abs(run.delta_h1 - s.mean()) / size, abs((run.se_conditional or 0.0) - se) / size]
        # A single batch is its own update batch, and shares its prompts by design.
        shared = 0.0 if with_replacement else run.agreement.get("shared_with_update", 0.0)
        ends = run.agreement["unterminated"] + run.agreement.get("past_the_end", 0.0)
        gaps += [ends, shared, run.agreement.get("direction_gap", 0.0), run.update.get("eta_gap", 0.0)]
        gaps += [*_kept_diagonal(run, size), *_total_variance(run), *_rows(run), *_entropy(run)]
    return check_within_noise(
        gaps,
        noise_floor=1e-9,
        name="bookkeeping",
        null="delta_h1 and its errors follow from s_n and the rate, a response ends with its first end token, which "
        "counts, E and U share no prompt, responses and rewards belong to their prompts, and the update is the one "
        "that was recorded",
        unit="relative, or counts",
        points_to="ddof or a division by B_E, the end token masked out because pad = EOS or ignored by the sampler, E "
        "drawn from U, a learning rate that is neither configured nor stored, a stale update, a temperature other than "
        "the configured one, rewards or responses of another prompt, an entropy that is not the tokens' sum, or (of a "
        "single batch) the products of a prompt with itself kept, which is a bias of order 1/B",
    )


def _rows(run: ProbeResult) -> list[float]:
    """Rewards and rows that belong to another prompt, and another temperature, where a run looked."""
    found = [run.agreement.get(name, 0.0) for name in ("temperature_gap", "other_prompts")]
    return [*found, run.update.get("other_prompts", 0.0), run.update.get("reward_gap") or 0.0]


def _entropy(run: ProbeResult) -> list[float]:
    """Gap of the mean entropy per response from the sampler's own record, beyond the rounding of two passes."""
    sampled = run.agreement.get("entropy_sampled")
    if not sampled or run.unit != "nats per response":
        return []
    gap = abs(run.entropy_mean / sampled - 1)
    return [gap if gap > max(SUMMING_TOLERANCE, SCALAR_ROUNDINGS * rounding([run])) else 0.0]


def _kept_diagonal(run: ProbeResult, size: float) -> list[float]:
    """Gap of a single batch's delta_h1 from the U-statistic of its recorded parts, relative to ``size``."""
    if not run.u_statistic:
        return []
    parts = run.u_statistic
    blocks = parts["blocks"]
    value = (blocks * parts["plug_in"] - parts["diagonal"]) / (blocks - 1)
    gap = abs(run.delta_h1 - run.eta * value) / size
    # The two sides sum float32 products in different orders; a diagonal that was kept is of order one.
    return [gap if gap > SUMMING_TOLERANCE else 0.0]


def _total_variance(run: ProbeResult) -> list[float]:
    """Gaps of the variance over both batches from its parts, relative to the conditional one, where there is one."""
    parts = run.variance_parts
    if not parts or run.variance_total is None or not run.variance_conditional:
        return []
    whole = parts["entropy_batch"] + parts["update_batch"] - parts["interaction"]
    gaps = (run.variance_total - whole, parts["entropy_batch"] - run.variance_conditional)
    return [abs(gap) / run.variance_conditional for gap in gaps]


def sampler_scorer_agreement(runs: Sequence[ProbeResult]) -> CheckOutcome:
    """log pi(t_k) and H_k recorded while sampling equal the scoring pass's, token by token, up to rounding."""
    gaps = np.array([[run.agreement["log_probs"], run.agreement["entropies"]] for run in runs]).ravel()
    return check_within_noise(
        gaps,
        noise_floor=noise_floor(runs),
        name="sampler_scorer_agreement",
        null="the sampler and the scorer give every token the same log-probability and entropy",
        unit="nats",
        points_to="another temperature, truncation or penalty in the sampler, dropout, wrong positions, or rows in "
        "another order",
    )


def summary(runs: Runs) -> dict[str, Any]:
    """What ``validation_summary.json`` holds: success rate, and every variance estimate side by side."""
    results = runs.results
    delta = np.array([run.delta_h1 for run in results])
    conditional = np.array([run.se_conditional or 0.0 for run in results])
    spread = float(delta.std(ddof=1)) if len(delta) > 1 else None
    pooled = float(np.sqrt(np.mean(conditional**2))) if len(delta) else None
    mean = float(delta.mean()) if len(delta) else None
    mean_se = float(np.sqrt(np.sum(conditional**2)) / len(delta)) if len(delta) else None
    ratio, label = signal_to_noise(mean, mean_se) if mean is not None else (None, "poor")
    return {
        "runs_planned": runs.planned,
        "runs_succeeded": len(results),
        "success_rate": len(results) / runs.planned,
        "failed_runs": [{"B_E": b, "run": r, "error": str(e)} for (b, r), e in sorted(runs.failures.items())],
        "delta_h1_mean": mean,
        "delta_h1_mean_se": mean_se,
        "spread_over_runs": spread,
        "se_conditional_pooled": pooled,
        "spread_over_se": spread / pooled if spread is not None and pooled else None,
        "signal_to_noise": ratio,
        "signal_to_noise_label": label,
        "per_run": [
            {
                "B_E": run.B_E,
                "run": run.run,
                "delta_h1": run.delta_h1,
                "se_conditional": run.se_conditional,
                "reinforce_loo": float(run.eta * np.mean(run.diagnostics["reinforce_loo"])),
                "seconds": sum(run.seconds.values()),
            }
            for run in results
        ],
    }


def conclusion(runs: Runs) -> tuple[str, str]:
    """Verdict and reason in words."""
    done, planned = len(runs.results), runs.planned
    verdict = "runs succeeded" if done == planned else "runs failed"
    return verdict, f"{done} of {planned} runs gave a result"
