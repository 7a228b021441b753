"""What a probe needs to know, whoever asks for it (the plugin's YAML model is pytest_entropy.settings)."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from pytest_entropy import registry
from pytest_entropy.optimizers.update_rules import UPDATE_RULES
from pytest_entropy.probe.update.objective import OBJECTIVES

MODES = ("two_batch", "u_statistic")
# Diagnostics that are no estimators.
MEASUREMENTS = ("ranks", "definition", "entropy_slope", "total_variance", "eta_sweep")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Settings of a probe; the numbers a result depends on, and two that only bound memory.

    Attributes:
        B_U: prompts of the update batch.
        G: responses per prompt of the update batch, and of the entropy batch unless ``G_E`` says otherwise.
        G_E: responses per prompt of the entropy batch.  Where prompts differ more than responses to one prompt do,
            fewer responses to more prompts give the smaller error for the same time (docs/variance-reduction.md).
        mode: ``two_batch``, or ``u_statistic``: update and entropy gradient from one batch of B_E prompts
            (docs/mathematics.md §5); B_U is not used then.
        u_statistic_blocks: M blocks of prompts in place of prompts; None for every prompt its own.
        entropy_unit: ``sequence`` (nats per response) or ``token`` (nats per token, a ratio; §3).
        estimator: how the entropy gradient is estimated; left out, the one with the least time to a given error
            that the mode allows: ``action_value``, in mode ``u_statistic`` ``rao_blackwell``.
        update_rule: which step is taken for the update (docs/mathematics.md §2).
        advantage: objective of the update, a key of ``OBJECTIVES``.
        scale_rewards: overrides the objective's advantage scaling; None keeps it.
        advantage_epsilon: added to the standard deviation where there is one (TRL 1e-4, verl 1e-6).
        max_grad_norm: gradient clipping of the ``adamw`` rule; None for none.
        learning_rate: eta; None takes the checkpoint's.
        temperature: sampling temperature T of the policy whose entropy is meant.
        max_new_tokens: the longest response.
        with_replacement: draw prompts with replacement, and allow E and U to share them.
        sample_rows: responses decoded together at most.
        chunk_tokens: tokens scored together at most.
        static_cache: sample with a cache that is written in place (:mod:`pytest_entropy.policy.kv_cache`).
        diagnostics: further per-prompt scalars to take from the same rollouts (names of estimators and scalars), and
            ``"ranks"`` for the surprisal ranks of the sampled tokens, ``"definition"`` for the batch and
            the update against their definitions, ``"entropy_slope"`` (with ``"score"``) for the ground truth of s_n,
            ``"total_variance"`` for the error with U random as well, ``"eta_sweep"`` for the entropy itself along u.
        eta_multiples: steps of that sweep, in multiples of eta (or of a power of two of it, where eta is too small
            or too large for the purpose).
        pareto_smoothed, clip_weights: how its self-normalised importance weights are tamed (default: not).
        fresh_samples: in the sweep, responses drawn anew as well.

    Raises:
        ValueError: a setting outside its range, or a diagnostic that there is not, named.
    """

    B_U: int = 32
    G: int = 8
    G_E: int | None = None
    mode: str = "two_batch"
    u_statistic_blocks: int | None = None
    entropy_unit: str = "sequence"
    estimator: str = ""
    update_rule: str = "preconditioned"
    advantage: str = "dr_grpo"
    scale_rewards: str | None = None
    advantage_epsilon: float = 1e-4
    max_grad_norm: float | None = None
    learning_rate: float | None = None
    temperature: float = 1.0
    max_new_tokens: int = 256
    with_replacement: bool = False
    sample_rows: int = 512
    chunk_tokens: int = 16384
    static_cache: bool = False
    diagnostics: tuple[str, ...] = ()
    eta_multiples: tuple[float, ...] = (-2, -1, 1, 2, 4)
    pareto_smoothed: bool = False
    clip_weights: float | None = None
    fresh_samples: bool = False

    def __post_init__(self) -> None:
        if not self.estimator:
            best = "rao_blackwell" if self.mode == "u_statistic" else "action_value"
            object.__setattr__(self, "estimator", best)
        if self.estimator not in registry.names("estimators"):
            raise ValueError(f"estimator {self.estimator!r} is not one of {', '.join(registry.names('estimators'))}")
        if self.update_rule not in UPDATE_RULES:
            raise ValueError(f"update_rule {self.update_rule!r} is not one of {', '.join(UPDATE_RULES)}")
        if self.mode not in MODES:
            raise ValueError(f"mode {self.mode!r} is not one of {', '.join(MODES)}")
        if self.entropy_unit not in ("sequence", "token"):
            raise ValueError(f"entropy_unit {self.entropy_unit!r} is not one of sequence, token")
        self._require_known_diagnostics()
        if self.mode == "u_statistic":
            self._require_parts()
        for name in ("B_U", "max_new_tokens", "sample_rows", "chunk_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.G < 2:
            raise ValueError(f"G is {self.G}: advantages and leave-one-out baselines need G >= 2")
        if self.G_E is not None and self.G_E < 2:
            raise ValueError(f"G_E is {self.G_E}: leave-one-out baselines need G_E >= 2")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, it must be positive")
        if not all(math.isfinite(m) and m for m in self.eta_multiples):
            raise ValueError(f"eta_multiples are {self.eta_multiples}: each must be finite and not 0")
        if self.clip_weights is not None and not self.clip_weights > 1:
            raise ValueError(f"clip_weights is {self.clip_weights}, it must be above 1, the weight of no step")

    @property
    def entropy_group(self) -> int:
        """Responses per prompt of the entropy batch."""
        return self.G if self.G_E is None else self.G_E

    def _require_known_diagnostics(self) -> None:
        known = (*registry.names("estimators"), *registry.names("scalars"), *MEASUREMENTS)
        unknown = [name for name in self.diagnostics if name not in known]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"diagnostics: {unknown[0]!r} is not known; {hint}")
        if "entropy_slope" in self.diagnostics and "score" not in self.diagnostics:
            raise ValueError("diagnostics: 'entropy_slope' takes its step from 'score'; ask for both")

    def _require_parts(self) -> None:
        """The U-statistic needs an update that is a mean of independent parts, one per prompt."""
        own_scaling, divisor = OBJECTIVES.get(self.advantage, ("", ""))
        if self.update_rule == "adamw":
            raise ValueError(
                "mode u_statistic needs an update that is linear in the gradient, and adamw's is not: "
                "take update_rule preconditioned or sgd, or mode two_batch"
            )
        if divisor == "all_tokens" or (self.scale_rewards or own_scaling) == "batch":
            raise ValueError(
                f"mode u_statistic needs prompts that enter the update one by one, and {self.advantage} with "
                f"scale_rewards {self.scale_rewards or own_scaling} normalises over the batch: take dr_grpo, grpo "
                "or rloo with scaling none or group, or mode two_batch"
            )
        if self.estimator == "action_value":
            raise ValueError(
                "mode u_statistic needs parts x_n of one prompt each, and action_value's use other prompts: "
                "take estimator rao_blackwell, or mode two_batch"
            )
        if self.entropy_unit == "token":
            raise ValueError("mode u_statistic counts entropy per response: take entropy_unit sequence, or two_batch")
        if self.G_E is not None:
            raise ValueError("mode u_statistic has one batch: its responses per prompt are G, leave G_E out")
        if self.diagnostics:
            raise ValueError(
                "the diagnostics rest on an update that is independent of the entropy batch: take mode two_batch"
            )
