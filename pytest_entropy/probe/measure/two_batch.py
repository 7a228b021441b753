"""Measure delta_h1 on an entropy batch E along the update direction of a batch U (docs/mathematics.md §1-4)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.optimizers.update_rules import update_rule
from pytest_entropy.policy.merged_adapter import merged
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.batches import draw_ranks
from pytest_entropy.probe.derivatives.directional import Derivatives, directional_derivatives
from pytest_entropy.probe.diagnostics.companion_parts import companion_parts
from pytest_entropy.probe.diagnostics.discrepancies import (
    definition_discrepancies_of_run,
    sampler_discrepancies,
    unit_discrepancy,
    update_discrepancies,
)
from pytest_entropy.probe.diagnostics.finite_steps import FINITE_STEPS, finite_steps
from pytest_entropy.probe.diagnostics.second_computations import entropy_batch_again
from pytest_entropy.probe.diagnostics.token_evidence import token_arrays, total_sampler_log_ratios
from pytest_entropy.probe.estimators import estimator_names
from pytest_entropy.probe.measure.companion_reads import read_companions
from pytest_entropy.probe.measure.run_record import MeasuredBatch
from pytest_entropy.probe.oracles.rounding_noise import is_coarse, rounding_noise
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.update.source import UpdateSource
from pytest_entropy.probe.variance.spread import Spread
from pytest_entropy.probe.variance.total import EntropySide, UpdateSide, halves, total_variance
from pytest_entropy.prompts import Prompt
from pytest_entropy.settings.objectives import normalised_over_batch

# Each half of E takes a jackknife of its own.
FEWEST_PER_TOKEN = 4


@dataclass(frozen=True)
class _Pass:
    """One run's entropy batch with its scoring pass: s ``[B_E]`` are taken along ``update``; ``seed`` is the run's.

    ``reads`` says whether s holds companion reads.
    """

    prompts: list[Prompt]
    rollouts: Rollouts
    derivatives: Derivatives
    s: np.ndarray
    update: Update
    seed: int
    reads: bool = False


class TwoBatch:
    """Measurements of one setup in mode ``two_batch``: along updates that are independent of the entropy batch."""

    def __init__(self, setup: Setup, updates: UpdateSource) -> None:
        self.setup, self.updates = setup, updates

    def measure(self, B_E: int, seed: int, update: Update, *, companions: int = 0) -> MeasuredBatch:
        """One independent measurement: fresh prompts and responses, s_n along the update's direction.

        Args:
            B_E: number of prompts of the entropy batch.
            seed: the run's own seed.
            update: the update whose direction u is used.
            companions: companion reads of each prompt.

        Raises:
            RunError: there are too few distinct prompts, or the hooks contradict a real backward.
        """
        setup, meter = self.setup, Meter(device=self.setup.policy.device)
        diagnostics = setup.config.diagnostics
        with meter.phase("sampling", B_E * setup.config.entropy_group * setup.config.max_new_tokens):
            prompts, rollouts = self.entropy_batch(B_E, seed, update)
        with meter.phase("self_check"):
            setup.verify_once(rollouts, update.direction)
        with meter.phase("derivatives", rollouts.size):
            derivatives = self._derivatives(rollouts, update, seed)
        s = setup.unit.values(derivatives.per_prompt, rollouts)
        reads = None
        if rollouts.control_variate is not None and companions:
            reads = read_companions(
                setup, prompts, rollouts.control_variate, update, count=companions, seed=seed, meter=meter
            )
            s = reads.applied(s)
        scored = _Pass(prompts, rollouts, derivatives, s, update, seed, reads is not None)
        agreement = self._agreement(scored, meter)
        with meter.phase("rounding") if is_coarse(setup.policy) else nullcontext():
            agreement |= rounding_noise(setup.policy, rollouts, update.direction, setup.config.estimator)
        arrays = token_arrays(rollouts, derivatives)
        swept, sweep_gaps = self._finite_steps(scored, meter)
        arrays |= swept
        agreement |= sweep_gaps
        spread, products = self._spread(scored, meter)
        arrays |= products
        derivatives = replace(derivatives, gradients=())
        if "ranks" in diagnostics:
            with meter.phase("evidence", rollouts.size):
                arrays |= total_sampler_log_ratios(
                    setup.policy, rollouts, seed=seed, chunk_tokens=setup.config.tokens_at_once, threads=setup.threads
                )
        keys = tuple(prompt.key for prompt in prompts)
        parts = companion_parts(setup, reads, prompts, update, seed)
        return MeasuredBatch(s, update, rollouts, derivatives, agreement, meter, arrays, spread, keys, companions=parts)

    def _derivatives(self, rollouts: Rollouts, update: Update, seed: int) -> Derivatives:
        setup, B_E = self.setup, len(rollouts)
        in_pass = self._vector_in_pass(B_E, update)
        # A merged adapter has no gradient of its own.
        with merged(setup.policy) if in_pass is None else nullcontext():
            return directional_derivatives(
                setup.policy,
                rollouts,
                update.direction,
                self._estimators(),
                chunk_tokens=setup.config.tokens_at_once,
                threads=setup.threads,
                ranks=draw_ranks(rollouts, seed) if "ranks" in setup.config.diagnostics else None,
                gradient_of=in_pass,
                groups=() if in_pass is None else halves(B_E),
            )

    def entropy_batch(self, B_E: int, seed: int, update: Update) -> tuple[list[Prompt], Rollouts]:
        """Draw B_E prompts that U does not hold and G responses to each.

        The responses carry the tables learnt from U's responses where the configured estimator uses them.

        Args:
            B_E: number of prompts.
            seed: the run's own seed.
            update: its prompts are excluded, and its learnt tables are used.

        Raises:
            RunError: there are too few distinct prompts.
        """
        prompts = self.setup.choose(B_E, seed, frozenset(update.prompts))
        rollouts = self.setup.sample(prompts, seed)
        tables = self.updates.tables(update)
        return prompts, replace(rollouts, control_variate=tables and tables.on(rollouts.tokens.device))

    def _estimators(self) -> list[str]:
        extra = [name for name in self.setup.config.diagnostics if name in estimator_names()]
        return list(dict.fromkeys([*self.setup.unit.estimators, *extra]))

    def _vector_in_pass(self, B_E: int, update: Update) -> str | None:
        """The estimator whose X_n the derivative pass sums up as a vector, which the total variance takes; else None.

        Per token the vector's coefficients differ between prompts, so that one backward cannot give it with the s_n.
        """
        total = "total_variance" in self.setup.config.diagnostics and not self._no_spread(B_E, update)
        return self.setup.unit.estimator if total and self.setup.unit.name == "sequence" else None

    def _entropy_side(self, scored: _Pass) -> EntropySide:
        """The entropy gradients of both halves of E, and their products with u as the prompts' scalars give them."""
        setup, rollouts, summed = self.setup, scored.rollouts, scored.derivatives.gradients
        means, along_u = [], []
        for k, half in enumerate(halves(len(rollouts))):
            part = rollouts.select(half)
            scalars = {name: values[half] for name, values in scored.derivatives.per_prompt.items()}
            along_u.append(float(setup.unit.values(scalars, part).mean()))
            if summed:
                means.append({name: g / len(half) for name, g in summed[k].items()})
            else:
                means.append(setup.unit.gradient(setup.policy, part, chunk_tokens=setup.config.tokens_at_once))
        return EntropySide(scored.s, (means[0], means[1]), (along_u[0], along_u[1]), scored.reads)

    def _agreement(self, scored: _Pass, meter: Meter) -> dict[str, float]:
        setup = self.setup
        discrepancies = sampler_discrepancies(
            scored.rollouts, scored.derivatives, setup.policy, setup.config.max_new_tokens
        )
        discrepancies |= update_discrepancies(
            (prompt.key for prompt in scored.prompts), scored.update, scored.rollouts.control_variate
        )
        discrepancies |= unit_discrepancy(setup.unit, scored.s, scored.derivatives, scored.rollouts)
        if "definition" in setup.config.diagnostics:
            with meter.phase("definition", scored.rollouts.size, passes=None):
                discrepancies |= definition_discrepancies_of_run(
                    setup.policy, scored.prompts, scored.rollouts, scored.derivatives, scored.update, setup.config,
                    self._estimators(), seed=scored.seed,
                )  # fmt: skip
                discrepancies |= entropy_batch_again(
                    setup.policy, scored.prompts, scored.rollouts, scored.derivatives, scored.update, setup.config,
                    seed=scored.seed, prompt_set=setup.prompts, tokenizer=setup.second_tokenizer,
                )  # fmt: skip
        return discrepancies

    def _finite_steps(self, scored: _Pass, meter: Meter) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """The arrays of the eta sweep and their discrepancies from plain loops; both empty if it was not asked for."""
        setup = self.setup
        if not FINITE_STEPS & set(setup.config.diagnostics):
            return {}, {}
        with meter.phase("ground_truth", scored.rollouts.size, passes=None):
            return finite_steps(
                setup.policy, scored.rollouts, scored.update.direction, scored.derivatives, setup.config, eta=setup.eta,
                sample=lambda: setup.sample(scored.prompts, scored.seed), threads=setup.threads,
            )  # fmt: skip

    def _spread(self, scored: _Pass, meter: Meter) -> tuple[Spread, dict[str, np.ndarray]]:
        """The variance of delta_h1 with U random as well, and the scalars behind it; both empty if not asked for."""
        setup, update = self.setup, scored.update
        if "total_variance" not in setup.config.diagnostics:
            return Spread(), {}
        if reason := self._no_spread(len(scored.rollouts), update):
            return Spread(notes=(f"no total variance: {reason}",)), {}
        tokens = len(update.prompts) * setup.config.G * setup.config.max_new_tokens
        with meter.phase("total_variance", tokens, passes=None):
            line = setup.linearisation(self._point(update))
            side = UpdateSide(setup.policy, self.updates.batch(update), line, setup.config)
            total = total_variance(side, self._entropy_side(scored), update.direction, eta=setup.eta)
        return total.spread(), total.arrays()

    def _point(self, update: Update) -> dict[str, torch.Tensor]:
        """Where J is taken: at U's gradient; J of a linear rule is the same at the direction, which is at hand.

        The gradient itself is needed where prompts share a normaliser.
        """
        config = self.setup.config
        if update_rule(config.update_rule).linear and not normalised_over_batch(config.loss_type, config.scale_rewards):
            return update.direction
        return self.updates.gradient(update)

    def _no_spread(self, B_E: int, update: Update) -> str:
        """Why the variance with U random as well cannot be estimated; empty where it can."""
        if len(update.prompts) < 2:
            return "it takes at least 2 prompts in the update batch (B_U >= 2)"
        few = FEWEST_PER_TOKEN
        if self.setup.unit.name == "token" and few > B_E:
            return f"per token it takes at least {few} prompts in the entropy batch (B_E >= {few})"
        return ""
