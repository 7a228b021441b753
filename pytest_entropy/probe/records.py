"""What a probe gives back: the update it assumed, and the entropy change it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from pytest_entropy.policy.rollouts import ActionValues


def fingerprint(direction: Mapping[str, torch.Tensor]) -> float:
    """A number that changes with any sign, scale or order of the direction's entries or tensors."""
    total = 0.0
    for position, name in enumerate(sorted(direction), start=1):
        entries = direction[name].detach().double().cpu().ravel()
        total += position * float(entries @ torch.linspace(1, 2, len(entries), dtype=torch.float64))
    return total


@dataclass(frozen=True)
class Update:
    """The update direction u = (theta_after - theta_before) / eta and where it came from.

    ``direction`` is by live parameter name, in the parameters' shapes and at least float32.  ``rewards`` is
    ``[B_U, G]``.  Norms are Euclidean over all trainable parameters.  ``oracle_gap`` is the largest relative
    difference from a real torch optimizer's step, ``loss_slope_gap`` that of <g, u> from the loss's own slope
    along u (None where it was not asked for).  ``eta_gap`` is eta's relative difference from the configured rate, or
    else the largest one the optimizer stores; ``fingerprint`` tells one direction from another (:func:`fingerprint`).
    ``learnt`` is what the batch's responses taught, for an estimator that learns, ``learnt_fingerprint``
    tells it from another's.  ``seconds``, ``memory_mb`` by phase.
    ``reward_gap`` is the largest difference of a reward from its completion's own (None where it was not asked for, or
    of a function that is not asked twice: ``rewards_rechecked`` is False then), ``other_prompts`` how many rows have
    another prompt's tokens, ``draw_gap`` how far a token is from the one its random number picks, in probability (None
    where it was not looked at).  ``sample`` shows up to two prompts with completion, answer and reward where rewards
    are equal within every group.
    """

    direction: dict[str, torch.Tensor]
    gradient: dict[str, torch.Tensor]
    rule: str
    objective: str
    eta: float
    eta_source: str
    seed: int
    prompts: tuple[str, ...]
    rewards: list[list[float]]
    gradient_norm: float
    direction_norm: float
    reward_mean: float
    reward_std: float
    degenerate_groups: float
    entropy_mean: float
    length_mean: float
    oracle_gap: float
    loss_slope_gap: float | None
    seconds: dict[str, float]
    eta_gap: float | None = None
    fingerprint: float | None = None
    learnt: ActionValues | None = None
    learnt_fingerprint: float | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)
    reward_gap: float | None = None
    rewards_rechecked: bool = False
    draw_gap: float | None = None
    other_prompts: float | None = None
    sample: list[dict[str, Any]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Everything but the tensors, as plain builtins."""
        skip = ("direction", "gradient", "learnt")
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in skip} | {
            "prompts": list(self.prompts)
        }


@dataclass(frozen=True)
class ProbeResult:
    """One run: the first-order entropy change and its conditional error, with the evidence.

    Attributes:
        B_E: prompts of the entropy batch; ``G`` responses each.
        run, seed: which of the runs at this B_E, and its seed.
        delta_h1: eta * mean_n s_n, in ``unit``.
        unit: "nats per response" or "nats per token".
        mode: ``two_batch`` or ``u_statistic``; in the latter update and entropy gradient share the batch, and
            ``variance_conditional`` is conditional on nothing: it is the total.
        variance_conditional: V_E(delta_h1 | U) = eta^2 var(s, ddof=1) / B_E.
        se_conditional: its root; None where B_E < 2, never 0.
        per_prompt: s_n, B_E numbers, ``unit`` per unit of eta: <X_n, u>; per token and for a U-statistic
            pseudo-values instead, with the same mean and spread as the estimate they stand for.
        variance_total, se_total: with U random as well (docs/mathematics.md §4); None where it was not asked for,
            or for the SE where the unbiased estimate is negative (``notes`` says so).
        variance_parts: ``entropy_batch`` + ``update_batch`` - ``interaction`` is ``variance_total``.
        u_statistic: what its value is recomputed from, see :class:`~.single_batch.UStatistic`.
        notes: what a reader has to know about the numbers.
        eta: the learning rate that scales s_n to delta_h1.
        diagnostics: further per-prompt scalars from the same rollouts, by estimator.
        asked: the configured diagnostics: what of the records below has to be there (None: not recorded).
        sampling_fraction: share of the distinct prompts E could have drawn that it did draw, B_E / N: runs on one
            small set share prompts; 0 with replacement.
        expected_surprises: how many of the batch's responses are expected to leave the likeliest path, the sum of
            :func:`~.directional.expected_first_surprises`: what carries every mean over sampled tokens.
        entropy_mean, entropy_se: of the policy on the E batch, in ``unit``.
        length_mean: tokens per response.
        ended_share: responses that ended by themselves.
        agreement: what has to hold exactly or to rounding: sampler against scorer (``log_probs``, ``entropies``:
            largest absolute differences in nats), the batch against prompts computed alone (``alone_...``, in
            nats) and s_n against its definition (``definition``, relative), the weights' unit ``rounding``,
            ``unterminated`` responses, those that go on ``past_the_end`` token, prompts ``shared_with_update``, and
            the relative ``direction_gap`` between the update's fingerprint as used and as recorded, the
            ``temperature_gap`` of the policy and the ``size_gap`` of the batches to the configuration, rows with
            ``other_prompts``' tokens, prompts that come ``repeated``, prompts whose responses are ``copies`` of one
            another, how far ``draws`` are from their random numbers (in probability), the ``unit_gap`` of per-token
            values from their definition, a number for the ``first_prompts``, and what the sampler's own record makes
            of the reported means (``entropy_sampled`` and so on).
        seconds, memory_mb: wall time, and most memory held (MiB), by phase.
        peak_memory_mb: of the process so far.
        gradient_sizes: norms by parameter, for DEBUG logs.
    """

    B_E: int
    G: int
    run: int
    seed: int
    delta_h1: float
    variance_conditional: float | None
    se_conditional: float | None
    per_prompt: list[float]
    eta: float
    eta_source: str
    estimator: str
    update_rule: str
    entropy_mean: float
    entropy_se: float | None
    length_mean: float
    ended_share: float
    agreement: dict[str, float]
    seconds: dict[str, float]
    peak_memory_mb: float
    update: dict[str, Any]
    unit: str = "nats per response"
    mode: str = "two_batch"
    variance_total: float | None = None
    se_total: float | None = None
    variance_parts: dict[str, float] = field(default_factory=dict)
    u_statistic: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    diagnostics: dict[str, list[float]] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    asked: list[str] | None = None
    sampling_fraction: float | None = None
    expected_surprises: float | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def entropy_term(self) -> list[float] | None:
        """<X_n, u> in nats per response, whatever ``unit`` and ``mode``; None where the record lacks it."""
        if self.mode == "two_batch" and self.unit == "nats per response":
            return self.per_prompt
        return self.diagnostics.get(self.estimator)

    def to_dict(self) -> dict[str, Any]:
        """Plain builtins for JSON; ``arrays`` travel beside it."""
        record = asdict(self)
        del record["arrays"]
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> ProbeResult:
        """The inverse of :meth:`to_dict`; keys it does not know are left aside."""
        known = {key: value for key, value in record.items() if key in cls.__dataclass_fields__}
        return cls(**known, arrays=arrays or {})
