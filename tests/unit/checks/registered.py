"""All registered checks, and how a test judges runs by one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_entropy import registry
from pytest_entropy.checks.base import Check
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome

# Of few prompts; the runs are always the same.
ALPHA = 0.05
CHECKS = {name: registry.get(kind, name, Check) for kind in ("checks", "bookkeeping") for name in registry.names(kind)}
PARTS = ("agreement", "update", "u_statistic", "variance_parts")


def judged(check: Check | str, runs: Sequence[RunRecord], *, alpha: float = ALPHA) -> CheckOutcome:
    """The outcome of a check, with the same random numbers every time."""
    found = CHECKS[check] if isinstance(check, str) else check
    return found.check(runs, alpha=alpha, rng=np.random.default_rng(0))


def without(run: RunRecord, name: str) -> RunRecord:
    """The run with the measured field ``name``, as :class:`Measured` has it, not measured."""
    part, _, key = name.partition(".")
    if name == "entropy_term":
        # It is the scalars themselves, or the estimator's where these are something else.
        direct = run.mode == "two_batch" and run.unit == "nats per response"
        return without(run, "per_prompt" if direct else f"diagnostics.{run.estimator}")
    if part in ("arrays", "diagnostics"):
        kept: dict[str, Any] = {part: {k: v for k, v in getattr(run, part).items() if k != key}}
        return replace(run, **kept)
    if part in PARTS:
        gone: list[str] | None = [] if key in ("prompts", "rewards") else None
        return replace(run, **{part: replace(getattr(run, part), **{key: gone})})
    nothing: dict[str, Any] = {name: None}
    return replace(run, **nothing)
