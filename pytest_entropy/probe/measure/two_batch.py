"""delta_h1 from two batches: the update direction of U, and the entropy batch E it is measured on (§1-4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.batches import draw_ranks
from pytest_entropy.probe.derivatives.directional import Derivatives, directional_derivatives
from pytest_entropy.probe.diagnostics.discrepancies import (
    definition_discrepancies_of_run,
    sampler_discrepancies,
    token_arrays,
    total_sampler_log_ratios,
    unit_discrepancy,
    update_discrepancies,
)
from pytest_entropy.probe.diagnostics.finite_steps import FINITE_STEPS, finite_steps
from pytest_entropy.probe.estimators import estimator_names, get_estimator
from pytest_entropy.probe.measure.run_record import MeasuredBatch
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.update.source import UpdateSource
from pytest_entropy.probe.variance.spread import Spread
from pytest_entropy.probe.variance.total import total_variance
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import generator


@dataclass(frozen=True)
class _Pass:
    """One run's entropy batch and its scoring pass along the update."""

    prompts: list[Prompt]
    rollouts: Rollouts
    derivatives: Derivatives
    s: np.ndarray
    update: Update
    seed: int


class TwoBatch:
    """Measurements of one setup along updates that are independent of the entropy batch."""

    def __init__(self, setup: Setup, updates: UpdateSource) -> None:
        self.setup, self.updates = setup, updates

    def measure(self, B_E: int, seed: int, update: Update) -> MeasuredBatch:
        """One independent measurement: fresh prompts and responses, s_n along the update's direction.

        Args:
            B_E: prompts of the entropy batch.
            seed: the run's own.
            update: the direction to use.

        Raises:
            RunError: prompts run out, or the hooks contradict a real backward.
        """
        setup, meter = self.setup, Meter(device=self.setup.policy.device)
        asked = setup.config.diagnostics
        with meter.phase("sampling"):
            prompts, rollouts = self.entropy_batch(B_E, seed, update)
        with meter.phase("self_check"):
            setup.verify_once(rollouts, update.direction)
        with meter.phase("derivatives"):
            derivatives = directional_derivatives(
                setup.policy,
                rollouts,
                update.direction,
                self._estimators(),
                chunk_tokens=setup.config.chunk_tokens,
                threads=setup.threads,
                ranks=draw_ranks(rollouts, seed) if "ranks" in asked else None,
            )
        s = setup.unit.values(derivatives.per_prompt, rollouts)
        done = _Pass(prompts, rollouts, derivatives, s, update, seed)
        agreement = self._agreement(done, meter)
        arrays = token_arrays(rollouts, derivatives) | self._finite_steps(done, meter)
        spread = self._spread(done, meter)
        if "ranks" in asked:
            with meter.phase("evidence"):
                arrays["sampler_evidence"] = total_sampler_log_ratios(
                    setup.policy, rollouts, chunk_tokens=setup.config.chunk_tokens, threads=setup.threads
                )
        return MeasuredBatch(s, update, rollouts, derivatives, agreement, meter, arrays, spread)

    def entropy_batch(self, B_E: int, seed: int, update: Update) -> tuple[list[Prompt], Rollouts]:
        """Fresh prompts, none of them the update's, and responses that carry what the update's have taught."""
        prompts = self.setup.choose(B_E, seed, frozenset(update.prompts))
        rollouts = self.setup.sample(prompts, seed)
        if not get_estimator(self.setup.config.estimator).learns:
            return prompts, rollouts
        # An update that was taken for another estimator has learnt nothing; its batch is drawn again from its seed.
        control_variate = update.control_variate or self.updates.batch(update).control_variate(self.setup.config)
        return prompts, replace(rollouts, control_variate=control_variate)

    def _estimators(self) -> list[str]:
        extra = [name for name in self.setup.config.diagnostics if name in estimator_names()]
        return list(dict.fromkeys([*self.setup.unit.estimators, *extra]))

    def _agreement(self, done: _Pass, meter: Meter) -> dict[str, float]:
        setup = self.setup
        found = sampler_discrepancies(done.rollouts, done.derivatives, setup.policy, setup.config.max_new_tokens)
        found |= update_discrepancies(
            (prompt.key for prompt in done.prompts), done.update, done.rollouts.control_variate
        )
        found |= unit_discrepancy(setup.unit, done.s, done.derivatives, done.rollouts)
        if "definition" in setup.config.diagnostics:
            with meter.phase("definition"):
                found |= definition_discrepancies_of_run(
                    setup.policy, done.prompts, done.rollouts, done.derivatives, done.update, setup.config,
                    self._estimators(), seed=done.seed,
                )  # fmt: skip
        return found

    def _finite_steps(self, done: _Pass, meter: Meter) -> dict[str, np.ndarray]:
        setup = self.setup
        if not FINITE_STEPS & set(setup.config.diagnostics):
            return {}
        with meter.phase("ground_truth"):
            return finite_steps(
                setup.policy, done.rollouts, done.update.direction, done.derivatives, setup.config, eta=setup.eta,
                sample=lambda: setup.sample(done.prompts, done.seed), threads=setup.threads,
            )  # fmt: skip

    def _spread(self, done: _Pass, meter: Meter) -> Spread:
        """The variance with U random as well, if asked for."""
        setup = self.setup
        if "total_variance" not in setup.config.diagnostics:
            return Spread()
        if len(done.update.prompts) < 2:
            why = "no total variance: one prompt in the update batch says nothing of others (B_U >= 2)"
            return Spread(notes=(why,))
        with meter.phase("total_variance"):
            batch = self.updates.batch(done.update)
            gradient = done.update.gradient or batch.gradient(setup.policy, setup.config)
            return total_variance(
                setup.policy,
                done.rollouts,
                done.s,
                batch,
                setup.linearisation(gradient),
                setup.unit,
                setup.config,
                eta=setup.eta,
                rng=generator(done.seed, "pairs"),
            ).spread()
