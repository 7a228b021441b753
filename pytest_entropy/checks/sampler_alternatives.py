"""No named wrong sampler explains the sampled tokens better than the policy (likelihood ratios)."""

from __future__ import annotations

import numpy as np

from pytest_entropy.checks.base import TEMPERATURE, Check, Given, Runs
from pytest_entropy.stats import CheckOutcome, check_likelihood_ratio

EVIDENCE, TOKENS, RANKS = "arrays.sampler_evidence", "arrays.evidence_tokens", "arrays.ranks"
# The wrong sampler that the check must be able to detect.
DECLARED = f"temperature x {TEMPERATURE:g}"


def expected_evidence(runs: Runs) -> float | None:
    """The expected evidence against the policy, in nats, if the declared wrong sampler had drawn the tokens."""
    return _tables(runs)[1][DECLARED]


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the likelihood ratios of all runs together, for all wrong samplers at once."""
    log_ratios, expected = _tables(runs)
    decided, drawn = map(sum, _tokens(runs))
    return check_likelihood_ratio(
        log_ratios,
        expected,
        alpha=given.share,
        name=check.name,
        null=check.claim + (f" ({decided} of {drawn} tokens decide)" if decided < drawn else ""),
        n=decided,
        declared=DECLARED,
        likely_causes=check.likely_causes,
    )


def _tokens(runs: Runs) -> tuple[list[int], list[int]]:
    """How many tokens of each run the evidence is of, and how many were drawn."""
    return [int(run.array(TOKENS)) for run in runs], [len(run.array(RANKS)) for run in runs]


def _tables(runs: Runs) -> tuple[dict[str, float], dict[str, float]]:
    """(log ratio, expected evidence) by wrong sampler, in nats."""
    from pytest_entropy.policy.alternatives import ALTERNATIVES  # needs torch, which collection must not load

    tables = np.sum([run.array(EVIDENCE) for run in runs], axis=0)
    observed, expected = (dict(zip(ALTERNATIVES, tables[:, column].tolist(), strict=True)) for column in (0, 1))
    return observed, expected


CHECK = Check(
    name="sampler_alternatives",
    claim="sampled tokens are as likely under the policy as its own draws are",
    likely_causes="a generation default left on in the sampler",
    needs=("asked", EVIDENCE, TOKENS, RANKS),
    judge=judge,
    asks=("ranks",),
    statistical=True,
    effect=expected_evidence,
)
