"""The sanity checks of docs/mathematics.md §8 on the runs of an experiment, each a check with its error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_entropy.analyses import declared
from pytest_entropy.analyses.bookkeeping import (
    ORACLE_TOLERANCE,
    SCALAR_ROUNDINGS,
    SCALAR_TOLERANCE,
    rounding,
)
from pytest_entropy.analyses.update_moves import said_first
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
# Central differences of the loss carry rounding and curvature of about 1e-4; a wrong factor is far larger.
SLOPE_TOLERANCE = 1e-2
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


def draws(runs: Sequence[ProbeResult]) -> CheckOutcome:
    """The responses to some prompts of every batch are what its random numbers pick from the policy."""
    gaps = [run.agreement["draws"] for run in runs if "draws" in run.agreement]
    gaps += [gap for run in runs if (gap := run.update.get("draw_gap")) is not None]
    return check_within_noise(
        gaps,
        noise_floor=noise_floor(runs),
        name="draws",
        null="a sampled token is the one that its own random number picks from softmax(logits / T)",
        unit="probability",
        points_to="a sampler that draws from another distribution than it records (temperature, top-k, top-p, a "
        "repetition penalty), or random numbers that belong to another batch, prompt or response",
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
        noise_floor=ORACLE_TOLERANCE,
        name="update_direction",
        null="the update direction equals a real optimizer's step",
        unit="relative",
        points_to="a sign, a missing bias correction, decay or clipping, or states of other parameters",
    )


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
    return verdict, said_first(runs.results, f"{done} of {planned} runs gave a result")
