"""The likelihood of the sampled tokens under the policy against that under named wrong samplers."""

from __future__ import annotations

import numpy as np

from pytest_entropy.checks.base import TEMPERATURE, Check, Given, Runs
from pytest_entropy.stats import CheckOutcome, check_likelihood_ratio

EVIDENCE, RANKS = "arrays.sampler_evidence", "arrays.ranks"
# The wrong sampler that has to be visible.
DECLARED = f"temperature x {TEMPERATURE:g}"


def expected_evidence(runs: Runs) -> float | None:
    """The evidence in nats that draws of the declared wrong sampler would leave in these runs."""
    return _tables(runs)[1][DECLARED]


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the evidence of all runs together, for all wrong samplers at once."""
    log_ratios, expected = _tables(runs)
    return check_likelihood_ratio(
        log_ratios,
        expected,
        alpha=given.share,
        name=check.name,
        null=check.claim,
        n=sum(len(run.array(RANKS)) for run in runs),
        declared=DECLARED,
        likely_causes=check.likely_causes,
    )


def _tables(runs: Runs) -> tuple[dict[str, float], dict[str, float]]:
    """(log ratio, expected evidence) by wrong sampler, in nats."""
    from pytest_entropy.policy.alternatives import ALTERNATIVES  # needs torch, which collection must not load

    tables = np.sum([run.array(EVIDENCE) for run in runs], axis=0)
    seen, expected = (dict(zip(ALTERNATIVES, tables[:, column].tolist(), strict=True)) for column in (0, 1))
    return seen, expected


CHECK = Check(
    name="sampler_alternatives",
    claim="sampled tokens are as likely under the policy as its own draws are",
    likely_causes="a generation default left on in the sampler",
    needs=(EVIDENCE, RANKS),
    judge=judge,
    statistical=True,
    effect=expected_evidence,
)
