"""The sanity checks of docs/mathematics.md §8 on the runs of an experiment, each a check with its error rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pytest_entropy.checks import effects_of_interest as declared
from pytest_entropy.checks.bookkeeping import (
    ORACLE_TOLERANCE,
    SCALAR_ROUNDINGS,
    SCALAR_TOLERANCE,
    rounding,
)
from pytest_entropy.checks.measured import (
    array,
    needs_measurements,
    number,
    numbers,
    per_prompt,
    undecided,
    was_asked,
)
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import (
    CheckOutcome,
    check_likelihood_ratio,
    check_mean_zero,
    check_se_calibration,
    check_uniform_pit,
    check_within_noise,
)
from pytest_entropy.stats.mean import few_events, too_few_events

# The noise floor is measured: so many times the largest gap between a batch and its prompts computed alone, at
# least so many roundings of the weights' type, and at most the cap, so that a fault cannot raise its own floor.
FLOOR_FACTOR, FLOOR_ROUNDINGS, FLOOR_CAP, CAP_ROUNDINGS = 30, 64, 5e-4, 32
# Central differences of the loss carry rounding and curvature of about 1e-4; a wrong factor is far larger.
SLOPE_TOLERANCE = 1e-2
# Half-precision weights bury a small step's change in rounding: only a sign or a factor of two shows then.
HALF_PRECISION, SLOPE_TOLERANCE_HALF = 1e-4, 0.5
# Of s_n, what rounding takes at most where probabilities are close to 1 (measured: a tenth of it), and from where on it
# hides a fault of order one.
LOST, BLIND = 1.0, 0.25


ALONE = ("alone_log_probs", "alone_entropies")


def noise_floor(runs: Sequence[RunRecord]) -> float:
    """Nats by which two correct computations of one log-probability may differ here."""
    looked = [run for run in runs if was_asked(run, "definition")]
    # Runs that were not to measure it are judged by the cap alone.
    if not looked:
        return noise_cap(runs)
    measured = max(FLOOR_FACTOR * max(numbers(looked, *ALONE)), FLOOR_ROUNDINGS * rounding(runs))
    return min(measured, noise_cap(runs))


def noise_cap(runs: Sequence[RunRecord]) -> float:
    """The largest noise floor that is believed."""
    return max(FLOOR_CAP, CAP_ROUNDINGS * rounding(runs))


def expected_surprises(runs: Sequence[RunRecord]) -> float:
    """How many responses of all runs together are expected to leave the likeliest path."""
    return sum(numbers(runs, "expected_surprises", of=""))


SCORE = "the mean directional score E[<grad log pi, u>] is 0"


@needs_measurements("score_identity", SCORE)
def score_identity(runs: Sequence[RunRecord], *, alpha: float) -> CheckOutcome:
    """E[<grad log pi(t), u>] = 0, clustered by prompt: the scorer's policy is the sampler's."""
    return check_mean_zero(
        np.concatenate([per_prompt(run, "score") for run in runs]),
        alpha=alpha,
        name="score_identity",
        null=SCORE,
        unit="nats per unit of eta",
        likely_causes="sampler and scorer differ: temperature, top-k/top-p, repetition penalty, dropout, positions under "
        "left padding, or another adapter",
        effect_of_interest=declared.temperature_in_scores(runs),
        expected_events=expected_surprises(runs),
    )


SURPRISAL = "sampled tokens follow the scored distribution, so that E[sum(-log pi - H)] is 0"


@needs_measurements("surprisal_identity", SURPRISAL)
def surprisal_identity(runs: Sequence[RunRecord], *, alpha: float) -> CheckOutcome:
    """Every sampled token's surprisal rank is uniform under the scorer's own distribution."""
    ranks = np.concatenate([array(run, "ranks") for run in runs])
    spread = np.concatenate([array(run, "surprisal_sd") for run in runs])
    return check_uniform_pit(
        ranks,
        spread,
        alpha=alpha,
        name="surprisal_identity",
        null=SURPRISAL,
        unit="standard deviations of token surprisal",
        likely_causes="sampler and scorer differ (temperature, truncation, penalty, dropout), or the end token is masked "
        "out because pad = EOS",
        effect_of_interest=declared.temperature_in_ranks(runs),
    )


ALTERNATIVE = "sampled tokens are as likely under the policy as its own draws are"


@needs_measurements("sampler_alternatives", ALTERNATIVE)
def sampler_alternatives(runs: Sequence[RunRecord], *, alpha: float) -> CheckOutcome:
    """The likelihood of the sampled tokens under the policy against that under named wrong samplers."""
    from pytest_entropy.policy.alternatives import ALTERNATIVES  # needs torch, which collection must not load

    tables = np.sum([array(run, "sampler_evidence") for run in runs], axis=0)
    return check_likelihood_ratio(
        dict(zip(ALTERNATIVES, tables[:, 0].tolist(), strict=True)),
        dict(zip(ALTERNATIVES, tables[:, 1].tolist(), strict=True)),
        alpha=alpha,
        name="sampler_alternatives",
        null=ALTERNATIVE,
        n=sum(len(array(run, "ranks")) for run in runs),
        declared=declared.ALTERNATIVE,
        likely_causes="a generation default left on in the sampler",
    )


AGREEMENT = "two estimators of one derivative differ by a mean of 0 on the same rollouts"


@needs_measurements("estimator_agreement", AGREEMENT)
def estimator_agreement(runs: Sequence[RunRecord], *, alpha: float) -> CheckOutcome:
    """The runs' estimator and reinforce_loo estimate one gradient: their paired difference has mean 0."""
    difference = np.concatenate([per_prompt(run, "entropy_term") - per_prompt(run, "reinforce_loo") for run in runs])
    return check_mean_zero(
        difference,
        alpha=alpha,
        name="estimator_agreement",
        null=f"{runs[0].estimator} - reinforce_loo has mean 0 on the same rollouts",
        unit="nats per unit of eta",
        likely_causes="a wrong baseline, entropy-to-go off by a position, or a sign",
        effect_of_interest=declared.wrong_sign(runs),
        expected_events=expected_surprises(runs),
    )


CALIBRATION = "the spread of delta_h1 over runs is what the reported standard errors say"


@needs_measurements("se_calibration", CALIBRATION)
def se_calibration(runs: Sequence[RunRecord], *, alpha: float, rng: np.random.Generator) -> CheckOutcome:
    """The spread of delta_h1 over runs with the same U is what the reported standard errors say."""
    return check_se_calibration(
        [np.asarray(run.per_prompt) for run in runs],
        [run.delta_h1 for run in runs],
        numbers(runs, "se_conditional", of=""),
        scale=runs[0].eta,
        alpha=alpha,
        rng=rng,
        effect_of_interest=declared.CALIBRATION,
        sampling_fraction=max(numbers(runs, "sampling_fraction", of="")),
    )


FIRST_ORDER = "s_n minus the importance-sampled slope of the entropy along u has mean 0"


@needs_measurements("first_order_accuracy", FIRST_ORDER)
def first_order_accuracy(runs: Sequence[RunRecord], *, alpha: float) -> CheckOutcome:
    """delta_h1 is the slope of the entropy itself: s_n - (Delta_n(h) - Delta_n(-h)) / 2h has mean 0."""
    surprises = expected_surprises(runs)
    prompts = sum(len(run.per_prompt) for run in runs)
    if too_few_events(surprises, prompts) and any("entropy_slope" not in run.diagnostics for run in runs):
        # No step moves such a policy far enough for a slope; that it was not measured is a consequence.
        return undecided("first_order_accuracy", FIRST_ORDER, len(runs), few_events(surprises))
    difference = np.concatenate([per_prompt(run, "entropy_term") - per_prompt(run, "entropy_slope") for run in runs])
    return check_mean_zero(
        difference,
        alpha=alpha,
        name="first_order_accuracy",
        null=FIRST_ORDER,
        unit="nats per unit of eta",
        likely_causes="a sign or factor in the estimator, a wrong entropy-to-go, or a direction other than the one stepped",
        effect_of_interest=declared.wrong_factor(runs),
        expected_events=surprises,
    )


ALIKE = "a prompt computed alone and unpadded gives the same log-probabilities and entropies as in its batch"


@needs_measurements("batch_invariance", ALIKE)
def batch_invariance(runs: Sequence[RunRecord]) -> CheckOutcome:
    """Padding, prompt sharing and the size of pieces change nothing beyond rounding."""
    return check_within_noise(
        numbers(runs, *ALONE),
        noise_floor=noise_cap(runs),
        name="batch_invariance",
        null=ALIKE,
        unit="nats",
        likely_causes="positions or masks under left padding, rows in another order, or a temperature missing in scoring",
    )


DRAWS = "a sampled token is the one that its own random number picks from softmax(logits / T)"


@needs_measurements("draws", DRAWS)
def draws(runs: Sequence[RunRecord]) -> CheckOutcome:
    """The responses to some prompts of every batch are what its random numbers pick from the policy."""
    return check_within_noise(
        numbers(runs, "draws") + numbers(runs, "draw_gap", of="update"),
        noise_floor=noise_floor(runs),
        name="draws",
        null=DRAWS,
        unit="probability",
        likely_causes="a sampler that draws from another distribution than it records (temperature, top-k, top-p, a "
        "repetition penalty), or random numbers that belong to another batch, prompt or response",
    )


DEFINITION = "s_n equals <X_n, u> computed from the estimator's definition, one unpadded response at a time"


def lost_digits(runs: Sequence[RunRecord]) -> float:
    """Relative rounding error of s_n where nearly all probability lies on one token.

    Each token's logits have derivatives of about 1 - max pi, of which float32 keeps no less than its unit roundoff: so
    tokens x roundoff is lost of what adds up to the nats of a response, within the factor ``LOST``.
    """
    worst = 0.0
    for run in runs:
        nats, tokens = number(run, "entropy_sampled"), number(run, "length_sampled")
        # The policy's numbers are float32 at best, unless all of the model is float64.
        unit = min(rounding([run]), float(np.finfo(np.float32).eps))
        worst = max(worst, LOST * unit * tokens / nats if nats > 0 else float("inf"))
    return worst


@needs_measurements("definition", DEFINITION)
def definition(runs: Sequence[RunRecord]) -> CheckOutcome:
    """s_n of one prompt per run, by every estimator, is what its definition gives in plain loops."""
    lost = lost_digits(runs)
    outcome = check_within_noise(
        numbers(runs, "definition"),
        noise_floor=max(SCALAR_TOLERANCE, SCALAR_ROUNDINGS * rounding(runs), min(lost, BLIND)),
        name="definition",
        null=DEFINITION,
        unit="relative to the sum of absolute contributions",
        likely_causes="entropy-to-go off by a position, a wrong baseline, sign or factor in the estimator, positions or "
        "masks under left padding, or a module whose parameters the fast derivative misses",
    )
    if lost < BLIND or not any(np.any(run.per_prompt) for run in runs):
        return outcome
    # A fault of order one would drown in it, and what is seen may be nothing else.
    reason = (
        "probabilities this close to 1 (a policy that has all but collapsed) leave s_n no more digits in this "
        "precision than a fault would change; compute in --dtype float64"
    )
    return replace(outcome, verdict="inconclusive", reason=reason)


LOSS = "the update's gradient is that of the policy-gradient loss on U"


@needs_measurements("update_gradient", LOSS)
def update_gradient(runs: Sequence[RunRecord]) -> CheckOutcome:
    """<g, u> is the slope of the loss itself on U, by finite differences with token weights from plain loops."""
    return check_within_noise(
        numbers(runs, "loss_slope_gap", of="update"),
        noise_floor=SLOPE_TOLERANCE if rounding(runs) < HALF_PRECISION else SLOPE_TOLERANCE_HALF,
        name="update_gradient",
        null=LOSS,
        unit="relative to the sum of absolute contributions",
        likely_causes="the sign or scale of the loss, advantages (ddof, baseline), token weights, or microbatch means "
        "summed as if equal-sized",
    )


STEP = "the update direction equals a real optimizer's step"


@needs_measurements("update_direction", STEP)
def update_direction(runs: Sequence[RunRecord]) -> CheckOutcome:
    """u is what a real torch optimizer does from the same state and gradient."""
    return check_within_noise(
        numbers(runs, "oracle_gap", of="update"),
        noise_floor=ORACLE_TOLERANCE,
        name="update_direction",
        null=STEP,
        unit="relative",
        likely_causes="a sign, a missing bias correction, decay or clipping, or states of other parameters",
    )


SAME = "the sampler and the scorer give every token the same log-probability and entropy"


@needs_measurements("sampler_scorer_agreement", SAME)
def sampler_scorer_agreement(runs: Sequence[RunRecord]) -> CheckOutcome:
    """log pi(t_k) and H_k recorded while sampling equal the scoring pass's, token by token, up to rounding."""
    return check_within_noise(
        numbers(runs, "log_probs", "entropies"),
        noise_floor=noise_floor(runs),
        name="sampler_scorer_agreement",
        null=SAME,
        unit="nats",
        likely_causes="another temperature, truncation or penalty in the sampler, dropout, wrong positions, or rows in "
        "another order",
    )
